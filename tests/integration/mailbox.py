"""A real mail server on a free port, and the letters that it took."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from functools import partial
from ssl import SSLContext
from threading import Thread
from typing import Any

from aiosmtpd.smtp import SMTP


@dataclass
class Mailbox:
    """Takes every letter, unless told to refuse."""

    letters: list[EmailMessage] = field(default_factory=list)
    refusal: str | None = None
    unknown: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    hangs_up: set[str] = field(default_factory=set)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        del session, options
        if address in self.hangs_up:
            server.transport.close()
        envelope.rcpt_tos.append(address)
        return self.unknown.get(address, "250 OK")

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        del server, session
        (address,) = envelope.rcpt_tos
        if answer := self.refusal or self.texts.get(address):
            return answer
        message = BytesParser(policy=default).parsebytes(envelope.content)
        assert isinstance(message, EmailMessage)
        self.letters.append(message)
        return "250 OK"

    def wait_for(self, recipient: str, subject: str) -> EmailMessage:
        """The newest letter to somebody whose subject contains this, once it has come."""
        for _ in range(400):
            found = [one for one in self.letters if one["To"] == recipient and subject in one["Subject"]]
            if found:
                return found[-1]
            time.sleep(0.05)
        raise AssertionError(f"no letter {subject!r} to {recipient}: {[str(m['Subject']) for m in self.letters]}")


@contextmanager
def mail_server(ssl_context: SSLContext | None = None, **options: Any) -> Iterator[tuple[Mailbox, str]]:
    """The mailbox and the server's address; `options` are aiosmtpd's."""
    box = Mailbox()
    loop = asyncio.new_event_loop()
    made = partial(SMTP, box, loop=loop, **{"enable_SMTPUTF8": True, **options})
    server = loop.run_until_complete(loop.create_server(made, "127.0.0.1", 0, ssl=ssl_context))
    thread = Thread(target=loop.run_forever, name="mailbox")
    thread.start()
    try:
        yield box, f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.01))  # connections close at the next turns
        loop.close()
