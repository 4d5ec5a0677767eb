"""Root file systems that slivers may begin as: what `dslice image` keeps on a machine, as its nodes read it.

DSLICE_IMAGES/         0700: a root file system has programs that run as root for whoever starts them
    NAME/image.json    digest, bytes, files, when it was made
    NAME/root/         the root file system itself; nobody writes it
    .nodes/NODE        a link to the store of each node that reads here, so that no image in use is removed
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from nodemgr.slivers.drivers.driver import Driver, Image
from nodemgr.slivers.limits import hostranges
from trust.errors import Code, Refusal
from trust.needs import DIGEST, IMAGE, Needs

ROOT, ABOUT, NODES = "root", "image.json", ".nodes"
NO_IMAGES: Mapping[str, Image] = MappingProxyType({})
_USED = """
    SELECT slice FROM lease WHERE json_extract(needs, '$.image') = :name
    UNION SELECT slice FROM removal WHERE json_extract(needs, '$.image') = :name ORDER BY slice
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of one image.

    Args:
        digest: SHA-256 of the tree (`admin/images/digest.py`), hexadecimal.
        size: bytes of its files.
        files: how many names there are in it.
        made_at: when it was added.
    """

    name: str
    digest: str
    size: int
    files: int
    made_at: datetime

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "made_at": self.made_at.isoformat()}, indent=1) + "\n"


def kept(folder: Path) -> list[Kept]:
    """All that are in this folder, by name; none where there is no folder."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return [found for name in names if IMAGE.fullmatch(name) and (found := _read(folder / name))]


def _images(folder: Path) -> Mapping[str, Image]:
    try:
        found = [Image(each.name, each.digest, folder / each.name / ROOT) for each in kept(folder)]
        return {each.name: each for each in found if _is_theirs(each)}
    except OSError as error:
        log.warning("there are no images for this node: %s cannot be read (%s)", folder, error.strerror)
        return NO_IMAGES


def _is_theirs(image: Image) -> bool:
    """Whether it belongs to slivers' root, where nothing shifts the ids of its files."""
    first = hostranges.shared()
    if first is None or image.root.stat().st_uid == first:
        return True
    log.warning("the image %s is not of this user's subordinate ids: remove it, and add it again", image.name)
    return False


def _read(folder: Path) -> Kept | None:
    try:
        said = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        found = Kept(**{**said, "made_at": datetime.fromisoformat(said["made_at"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("%s is no image: %s", folder, error)
        return None
    return found if found.name == folder.name and DIGEST.fullmatch(found.digest) else None


class Images:
    """One node's view of them, read again when the folder changes; `folder` None: there are none."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._seen: int | None = None
        self._found = NO_IMAGES

    def offered(self, driver: Driver) -> Mapping[str, Image]:
        """By name, for slivers of this driver."""
        if self.folder is None or not driver.images:
            return NO_IMAGES
        try:
            seen = self.folder.stat().st_mtime_ns
        except OSError:
            return NO_IMAGES
        if seen != self._seen:
            self._seen, self._found = seen, _images(self.folder)
        return self._found

    def find(self, needs: Needs, driver: Driver) -> Image | None:
        """The image that is needed; None when none is. Refusal(OVER_CAPACITY) when it is not here, or another."""
        if needs.image is None:
            return None
        found = self.offered(driver).get(needs.image)
        if found is None:
            raise Refusal(Code.OVER_CAPACITY, f"this node has no image {needs.image}; take another node")
        if found.digest != needs.digest:
            reason = f"the image {needs.image} of this node is another one of that name; take another node"
            raise Refusal(Code.OVER_CAPACITY, reason)
        return found

    def register(self, node: str, store: Path) -> None:
        """Have it known that leases in this store may be on images from here."""
        if self.folder is None:
            return
        try:
            nodes = self.folder / NODES
            nodes.mkdir(mode=0o700, exist_ok=True)
            link, target = nodes / node, str(store.resolve())
            if not link.is_symlink() or os.readlink(link) != target:
                link.unlink(missing_ok=True)
                link.symlink_to(target)
        except OSError as error:
            log.warning("dslice image remove will not know what %s uses of %s: %s", node, self.folder, error.strerror)


def users(folder: Path, name: str) -> Iterator[tuple[str, Sequence[str]]]:
    """(node, slices) that have a sliver of this image, or a lease for one.

    Raises Refusal(BUSY) when a node's store cannot be read.
    """
    nodes = folder / NODES
    for node in sorted(os.listdir(nodes)) if nodes.is_dir() else []:
        store = nodes / node
        if not store.exists():  # the node's own folder is gone
            with suppress(FileNotFoundError):
                store.unlink()
            continue
        try:
            with closing(sqlite3.connect(store.resolve(), timeout=5)) as connection:
                slices = [slice for (slice,) in connection.execute(_USED, {"name": name})]
        except sqlite3.Error as error:
            raise Refusal(Code.BUSY, f"what node {node} uses cannot be read now ({error}); try again") from error
        if slices:
            yield node, slices
