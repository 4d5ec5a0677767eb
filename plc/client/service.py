"""A service with a certificate of plc's, from its first moment to its last: agent, svmd, node manager."""

from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from plc.client.member import Member
from rpc.background import Tasks
from rpc.credentials import Credentials
from rpc.daemon import ready
from rpc.server import Listener, serve
from rpc.settings import MemberSettings
from trust.clock import system_clock
from trust.errors import Code, Refusal
from trust.identity import Role


@contextmanager
def joined(settings: MemberSettings, role: Role, name: str, addresses: Sequence[str] = ()) -> Iterator[Member]:
    """The service, enrolled, and kept so by a background thread. Raises Refusal as ``Member.join``."""
    file = settings.enroll_token_file
    if settings.token is None and file is not None and not Credentials(settings.state_dir).exists():
        raise Refusal(Code.BAD_INPUT, f"DSLICE_ENROLL_TOKEN_FILE names {file}, which is not there")
    member = Member.join(
        directory=settings.state_dir,
        plc_url=settings.plc_url,
        role=role,
        name=name,
        addresses=addresses,
        token=settings.token,
        clock=system_clock(),
    )
    member.start()
    try:
        yield member
    finally:
        member.stop()


async def serve_announced(
    member: Member, listeners: Sequence[Listener], url: str, *beside: Coroutine[Any, Any, None]
) -> None:
    """Serve until SIGTERM; once it answers, say `ready ADDRESS` and put its URL into plc's directory.

    Args:
        url: where others reach it; empty: at the first listener.
        beside: what runs meanwhile.
    """
    async with Tasks() as tasks:

        def answers(addresses: list[tuple[str, int]]) -> None:
            host, port = addresses[0]
            tasks.begin(member.keep_announcing(url or f"https://{host}:{port}"))
            ready(host, port)

        for work in beside:
            tasks.begin(work)
        await serve(listeners, ready=answers)
