"""Who does what: the table of docs/clients.md (`python -m tests.clients.table`), and the tests that come of it."""

from __future__ import annotations

import pytest

from tests.clients import commandline, libraries
from tests.clients.client import DEEDS, Client
from tests.clients.installed import ALL, QUICK

EVERYONE: tuple[Client, ...] = (
    commandline.OpenSSH(),
    commandline.PuTTY(),
    commandline.Dropbear(),
    libraries.Libssh(),
    libraries.Libssh2(),
    libraries.Paramiko(),
    libraries.AsyncSSH(),
    libraries.NodeSsh2(),
    libraries.Fabric(),
    commandline.Rclone(),
    commandline.Rsync(),
    commandline.Lftp(),
    commandline.Sshfs(),
    commandline.Mosh(),
    commandline.Pssh(),
    commandline.Pdsh(),
    commandline.Clush(),
)
ALWAYS = ("openssh-client", "pip install paramiko", *QUICK.values())


def who(deed: str) -> pytest.MarkDecorator:
    """A test for each client that does it; skipped, with the reason, for those that this run does not try."""
    return pytest.mark.parametrize("client", [_tried(client) for client in EVERYONE if client.does(deed)])


def _tried(client: Client) -> object:
    reason = client.missing() if ALL or client.package in ALWAYS else f"{client.name}: make clients tries it"
    return pytest.param(client, id=client.name, marks=[pytest.mark.skip(reason=reason)] if reason else [])


def table() -> str:
    """As Markdown: a line for each client, a column for each thing that people do."""
    lines = ["client", *DEEDS.values()], ["---", *(":---:" for _ in DEEDS)]
    rows = [[client.name, *("•" if client.does(deed) else "" for deed in DEEDS)] for client in EVERYONE]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (*lines, *rows))


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201
