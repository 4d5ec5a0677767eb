"""Whom the operator acts as, and whom he talks to: plc, agents, svmd and nodes, over the network like everybody else.

At plc's own machine that is plc itself, with its certificate, and orders are signed with the CA's key. Anywhere else it
is an admin, with the certificate in $PLANETLAB_HOME, whose key signs them. plc, agents, svmd and nodes check either.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

from plc.client import PLC, AgentEntry, Directory, Plc
from rpc.blocking import Connection
from rpc.credentials import Credentials
from trust.certificates import Authority
from trust.clock import system_clock
from trust.errors import Code, Refusal
from trust.identity import Identity
from trust.orders import Order, new_order, sign_order


@dataclass(frozen=True, slots=True)
class Reach:
    """One operator at work.

    Args:
        authority: the CA, at plc's own machine; else an admin's key signs.
    """

    plc: Plc
    credentials: Credentials
    authority: Authority | None = None

    def order(self, node: Identity | None, slice: str, slice_id: UUID, reason: str) -> tuple[Order, str]:
        """An order to remove slivers, and the same as it is signed."""
        now, authority = system_clock().now(), self.authority
        if authority is not None:
            end = authority.certificate.not_valid_after_utc
            made = new_order(PLC, node, slice, slice_id, reason, now, end)
            return made, sign_order(made, authority.key, None)
        mine = self.credentials
        made = new_order(mine.identity, node, slice, slice_id, reason, now, mine.certificate.not_valid_after_utc)
        return made, sign_order(made, mine.key, mine.certificate)

    def ask(self, url: str, identity: Identity, path: str, deadline: float = 30) -> dict[str, Any]:
        """What a service answers. Raises Refusal."""
        with Connection(url, credentials=self.credentials, expect=identity) as connection:
            body = connection.call("GET", path, deadline=deadline).body
        if not isinstance(body, dict):
            raise Refusal(Code.INTERNAL, f"the answer of {identity} makes no sense; is it of another version?")
        return body

    def agent(self, entry: AgentEntry, path: str) -> dict[str, Any]:
        return self.ask(entry.url, entry.identity, path)

    def svmd(self, path: str, query: Mapping[str, str | None] | None = None) -> dict[str, Any]:
        """Raises Refusal; NOT_FOUND where plc knows no svmd."""
        found: Directory = self.plc.directory()
        if found.svmd is None or found.svm is None:
            raise Refusal(Code.NOT_FOUND, "plc knows no service manager yet; start svmd, or try again in a minute")
        said = urlencode({name: value for name, value in (query or {}).items() if value is not None})
        return self.ask(found.svmd, found.svm, f"{path}?{said}" if said else path)

    def slice(self, name: str) -> dict[str, Any]:
        """One slice as svmd has it, with its slivers. Raises Refusal."""
        try:
            return self.svmd(f"/operator/slices/{quote(name, safe='')}")
        except Refusal as refusal:
            if refusal.code is not Code.NOT_FOUND:
                raise
            raise Refusal(refusal.code, f"svmd knows no slice {name[:40]!a}; dslice slices lists all") from refusal


@contextmanager
def reach(folder: Path | None, *, as_me: bool) -> Iterator[Reach]:
    """As an admin (`as_me`), or as the operator at plc's machine, whose settings are found as by `dslice plc`.

    Raises Refusal.
    """
    if as_me:
        from svm.home import Home

        home = Home.find()
        credentials = home.require_certificate()
        with Plc(home.require_plc(), credentials) as plc:
            yield Reach(plc, credentials)
        return
    from admin.plc.here import settings_here
    from plc.authority import load_authority

    settings = settings_here(folder)
    credentials = Credentials(settings.state_dir)
    if not credentials.exists():
        raise Refusal(Code.UNREACHABLE, f"plc has no certificate in {settings.state_dir} yet: start it first")
    authority = load_authority(settings.state_dir, system_clock().now(), first=False)
    with Plc(settings.url or f"https://{settings.listen}", credentials) as plc:
        yield Reach(plc, credentials, authority)


def moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
