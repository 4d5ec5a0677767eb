"""Tars to make images of, and a store of images to put them in."""

import io
import tarfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from admin.images import store as module
from admin.images.sources import entries
from admin.images.store import Store

Member = tuple[str, bytes | str, int]
HELLO: Sequence[Member] = (
    ("./", "folder", 0o755),
    ("./bin", "folder", 0o755),
    ("./bin/hello", b"#!/bin/sh\necho hello\n", 0o4755),
    ("./etc/motd", b"hi\n", 0o600),
    ("./bin/hi", "-> hello", 0o777),
    ("./etc/out", "-> /etc/passwd", 0o777),
    ("./bin/same", "== ./bin/hello", 0o755),
    ("./tmp", "folder", 0o1777),
)


def tar_of(path: Path, members: Iterable[Member], mode: str = "w", **more: Any) -> Path:
    """A tar of folders, files (bytes), links (`-> target`), second names (`== path`) and devices (`dev`)."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, what, bits in members:
            member = tarfile.TarInfo(name)
            member.mode, member.mtime = bits, 1_000_000
            for field, value in more.items():
                setattr(member, field, value)
            content = b""
            if isinstance(what, bytes):
                content, member.size = what, len(what)
            elif what == "folder":
                member.type = tarfile.DIRTYPE
            elif what.startswith("dev"):
                member.type, member.devmajor, member.devminor = tarfile.CHRTYPE, 1, 3
            else:
                member.type = tarfile.SYMTYPE if what.startswith("->") else tarfile.LNKTYPE
                member.linkname = what[3:]
            tar.addfile(member, io.BytesIO(content))
    return path


def add(store: Store, source: Path, name: str = "hello") -> module.Added:
    return store.add(name, lambda: entries(source, store.folder), datetime.now(UTC))
