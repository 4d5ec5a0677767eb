"""Slivers that outlive their node manager on purpose: ended by the nodes' own records, never by a bare pid."""

from nodemgr.slivers.inside.folder import SliverFolder
from testbed.home import Home


def end(home: Home) -> int:
    """End the keepers of all slivers of this testbed, and with each all that runs in it; how many there were."""
    ended = 0
    for folder in slivers(home):
        keeper = folder.keeper()
        if keeper is not None and keeper.alive:
            keeper.kill()
            ended += 1
    return ended


def running(home: Home) -> list[str]:
    """`NODE/SLICE` of each sliver whose keeper runs."""
    return [
        f"{folder.path.parent.parent.name}/{folder.path.name}"
        for folder in slivers(home)
        if (keeper := folder.keeper()) is not None and keeper.alive
    ]


def slivers(home: Home) -> list[SliverFolder]:
    """Every sliver's folder. Nothing below it is opened: what lies there is the sliver's."""
    return [
        SliverFolder(record.parent.parent, record.parent.name)
        for record in sorted(home.directory.glob("services/*/slivers/*/keeper.json"))
    ]
