"""The testbed's mailbox: a mail server to which every letter is welcome, and the reading of what came.

Nothing leaves the machine. It listens at a UNIX socket in the testbed's private folder: slivers share the machine's
network, and none may hand in a letter. Letters are files, so that they outlive a restart and need no server to be read.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from email import message_from_bytes, policy
from itertools import count
from pathlib import Path

from rpc.daemon import ready
from rpc.files import replace_file

MOST_BYTES = 1_048_576
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Letter:
    """One letter, as people read it; `date` as its header says it."""

    sender: str
    to: str
    date: str
    subject: str
    text: str

    def as_json(self) -> dict[str, str]:
        """For `dslice mail --json`: from, to, date, subject, text."""
        found = asdict(self)
        return {"from": found.pop("sender"), **found}


def letters(folder: Path) -> Iterator[Letter]:
    """Every letter in the folder, the oldest first."""
    for path in sorted(folder.glob("*.eml")):
        found = message_from_bytes(path.read_bytes(), policy=policy.default)
        body = found.get_body(("plain",))
        text = body.get_content() if body is not None else ""
        yield Letter(
            str(found["From"]),
            str(found["To"]),
            str(found["Date"]),
            str(found["Subject"]),
            text.replace("\r\n", "\n").strip(),
        )


class Deliver:
    """aiosmtpd's handler: each letter becomes one file, there at once and whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def handle_DATA(self, _server: object, _session: object, envelope: object) -> str:  # noqa: N802 aiosmtpd's name
        content = getattr(envelope, "content", b"")
        name = f"{time.time_ns():020}-{os.getpid()}-{next(_numbers)}"
        replace_file(self._folder / f"{name}.eml", content, 0o644)
        return "250 OK"


def main() -> None:
    """`dslice run mail`: DSLICE_LISTEN (a socket's path), DSLICE_MAILBOX (folder); until SIGTERM."""
    asyncio.run(_serve(Path(os.environ["DSLICE_MAILBOX"]), os.environ["DSLICE_LISTEN"]))


async def _serve(folder: Path, place: str) -> None:
    from aiosmtpd.lmtp import LMTP

    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = Deliver(folder)
    server = await loop.create_unix_server(lambda: LMTP(handler, data_size_limit=MOST_BYTES, hostname="testbed"), place)
    Path(place).chmod(0o600)
    ready(place)
    await ended.wait()
    server.close()
