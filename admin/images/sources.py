"""Where a root file system comes from, a tar or a folder: what is in it, one thing after the other."""

import lzma
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO

from trust.errors import Code, Refusal, printable

Parts = tuple[str, ...]
_CHUNK = 1 << 20
_NOT_READ = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)


class Kind(Enum):
    """What a name stands for."""

    FOLDER = "folder"
    FILE = "file"
    LINK = "link"
    SAME = "another name of an earlier file"
    PIPE = "pipe"
    CHARACTERS = "device of characters"
    BLOCKS = "device of blocks"


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a tree.

    Args:
        parts: of its path below the root; none for the root folder itself.
        mtime: seconds since 1970.
        target: of a link; of `SAME`, the earlier file's path as `same`.
        device: its numbers.
        content: a file's, to be read before the next entry is asked for.
    """

    parts: Parts
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: float
    target: str = ""
    same: Parts = ()
    device: tuple[int, int] = (0, 0)
    content: IO[bytes] | None = None

    def chunks(self) -> Iterator[bytes]:
        """Of its content. Raises Refusal(BAD_INPUT) when that cannot be read to its end."""
        try:
            while self.content is not None and (chunk := self.content.read(_CHUNK)):
                yield chunk
        except _NOT_READ as error:
            raise _bad(f"{self.path} cannot be read whole ({error}); give another source") from error

    @property
    def path(self) -> str:
        return printable("/".join(self.parts) or ".", 200)


_TAR_KINDS = {
    tarfile.DIRTYPE: Kind.FOLDER,
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.CONTTYPE: Kind.FILE,
    tarfile.GNUTYPE_SPARSE: Kind.FILE,
    tarfile.SYMTYPE: Kind.LINK,
    tarfile.LNKTYPE: Kind.SAME,
    tarfile.FIFOTYPE: Kind.PIPE,
    tarfile.CHRTYPE: Kind.CHARACTERS,
    tarfile.BLKTYPE: Kind.BLOCKS,
}
_FILE_KINDS = {
    stat.S_IFDIR: Kind.FOLDER,
    stat.S_IFREG: Kind.FILE,
    stat.S_IFLNK: Kind.LINK,
    stat.S_IFIFO: Kind.PIPE,
    stat.S_IFCHR: Kind.CHARACTERS,
    stat.S_IFBLK: Kind.BLOCKS,
}


def entries(source: Path, without: Path) -> Iterator[Entry]:
    """Of a tar (plain, gzip, bzip2, xz), or of a folder without what is in `without`, where it is copied to.

    Raises Refusal(BAD_INPUT) for what is neither, or not safe.
    """
    return _of_folder(source, without) if source.is_dir() else _of_tar(source)


def _of_tar(path: Path) -> Iterator[Entry]:
    try:
        with tarfile.open(path, "r:*") as tar:
            for member in tar:
                yield _of_member(tar, member)
            # A tar that was cut off between two files looks whole but for the empty block that ends it.
            assert tar.fileobj is not None  # noqa: S101  # as long as it is open
            tar.fileobj.seek(tar.offset)
            if not tar.fileobj.read(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("its end is missing")
    except _NOT_READ as error:
        reason = f"{path} is no whole tar (plain, gzip, bzip2 or xz): {error}; give another, or a folder"
        raise _bad(reason) from error


def _of_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    kind = _TAR_KINDS.get(member.type)
    if kind is None:
        raise _bad(f"{printable(member.name, 200)} is of a kind that no root file system has; make the tar without it")
    return Entry(
        parts=safe(member.name),
        kind=kind,
        mode=member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        mtime=member.mtime,
        target=member.linkname if kind is Kind.LINK else "",
        same=safe(member.linkname) if kind is Kind.SAME else (),
        device=(member.devmajor, member.devminor),
        content=tar.extractfile(member) if kind is Kind.FILE else None,
    )


def safe(name: str) -> Parts:
    """The parts of a path that stays where it is put. Raises Refusal(BAD_INPUT) for any other."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise _bad(f"'{printable(name, 200)}' in the tar leads out of it; make it with paths below its root")
    return parts


def _of_folder(root: Path, without: Path) -> Iterator[Entry]:
    """Of this file system alone: what is mounted below it is left out, so that `/` can be given."""
    known: dict[int, Parts] = {}
    own, target = root.stat(), without.stat()
    where = (own.st_dev, target.st_ino if target.st_dev == own.st_dev else None)
    try:
        yield from _below(os.fspath(root), (), where, known)
    except OSError as error:
        raise _bad(f"{error.filename} cannot be read ({error.strerror}); run this as who may") from error


def _below(path: str, parts: Parts, where: tuple[int, int | None], known: dict[int, Parts]) -> Iterator[Entry]:
    """`where`: the file system (its device) and the folder there (its inode) that is left out."""
    found = os.lstat(path)
    kind = _FILE_KINDS.get(stat.S_IFMT(found.st_mode))
    if kind is None:  # a socket is nothing without who listens
        return
    if kind is Kind.FILE and found.st_nlink > 1 and known.setdefault(found.st_ino, parts) != parts:
        yield _entry(parts, Kind.SAME, found, same=known[found.st_ino])
    elif kind is Kind.FILE:
        with open(path, "rb") as content:
            yield _entry(parts, kind, found, content=content)
    else:
        yield _entry(parts, kind, found, target=os.readlink(path) if kind is Kind.LINK else "")
    if kind is Kind.FOLDER and found.st_dev == where[0] and found.st_ino != where[1]:
        for name in sorted(os.listdir(path)):
            yield from _below(os.path.join(path, name), (*parts, name), where, known)


def _entry(
    parts: Parts,
    kind: Kind,
    found: os.stat_result,
    *,
    target: str = "",
    same: Parts = (),
    content: IO[bytes] | None = None,
) -> Entry:
    mode, device = stat.S_IMODE(found.st_mode), (os.major(found.st_rdev), os.minor(found.st_rdev))
    return Entry(parts, kind, mode, found.st_uid, found.st_gid, found.st_mtime, target, same, device, content)


def _bad(reason: str) -> Refusal:
    return Refusal(Code.BAD_INPUT, reason)
