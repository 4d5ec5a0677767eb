"""What a node manager writes for a sliver to see: the part of a driver that depends on who is inside."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nodemgr.slivers.inside import etc
from nodemgr.slivers.inside.folder import Record, SliverFolder
from nodemgr.slivers.limits import hostuids


class Furnisher:
    """Slivers with one user, who is their root; in `directory`."""

    directory: Path

    def host_uids(self) -> Iterable[int] | None:
        """Those that may be given to slivers, one to each; None: slivers have our own."""
        return hostuids.available(self.directory)

    def furnish(self, sliver: SliverFolder, names: etc.Names) -> None:
        """Write everything but the slice's key; what was there of an earlier start is replaced."""
        sliver.make_var()
        etc.write_etc(sliver.etc, names)
        etc.write_first_process(sliver.etc, sliver.owner())

    def write_names(self, sliver: SliverFolder, names: etc.Names) -> None:
        """Write what depends on the name."""
        etc.write_names(sliver.etc, names)

    def write_key(
        self, sliver: SliverFolder, private: str, public: str, host_uid: int | None, *, durable: bool = True
    ) -> list[Path]:
        """Put the slice's key pair there: its files."""
        return [*etc.write_slice_key(sliver.etc, private, public, host_uid, durable=durable)]

    def make_home(self, sliver: SliverFolder, record: Record) -> None:
        """Write what is in a home from the first."""
        etc.write_authorized_keys(sliver.home, record.slice, record.host_uid)
