"""Taking away: disabling an account, the PI flag. Whatever is lost is revoked in the same transaction."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, select, update

from models.plc import account, certificate
from plc import letters
from plc.accounts import Actor, load, require_admin, require_enabled, require_may_disable, stated
from plc.ca import revoke
from plc.certificates import drop_requests
from plc.client.values import AccountState
from plc.journal import note
from plc.mail import post
from plc.names import names_of
from plc.settings import Settings
from trust.errors import Code, Refusal
from trust.identity import Identity


def disable(
    connection: Connection, actor: Actor, email: str, reason: str, stop: bool, settings: Settings, now: datetime
) -> Sequence[str]:
    """Disable and revoke; returns the slices that the account holds.

    They run on until their leases end, which nobody can renew any more; ``stop`` has every node end them now.
    Disabling again may add ``stop``. Raises Refusal NOT_FOUND, NOT_ALLOWED, BAD_INPUT (no reason).
    """
    why = stated(reason)
    whom = load(connection, email, lock=True)
    require_may_disable(actor, whom)
    if stop:
        require_admin(actor, "stop somebody's slivers")
    values = {"state": AccountState.DISABLED, "decided_at": now, "reason": why}
    connection.execute(update(account).where(account.c.id == whom.id).values(**values))
    if stop:
        connection.execute(update(account).where(account.c.id == whom.id).values(stopped_at=now))
    revoke(connection, whom.identity, f"account disabled: {why}", now)
    drop_requests(connection, whom, f"the account was disabled: {why}", now)
    held = names_of(connection, whom)
    note(connection, now, actor.name, "disable --stop" if stop else "disable", whom.email, why)
    told = letters.account_disabled(whom.email, whom.name, why, held, stop, settings.ca_operator)
    post(connection, told, now)
    return held


def set_pi(connection: Connection, actor: Actor, email: str, pi: bool, settings: Settings, now: datetime) -> None:
    """Admins make PIs. Losing the flag revokes the certificates that carry it (unless everyone's do).

    Raises Refusal NOT_FOUND, NOT_ALLOWED.
    """
    require_admin(actor, "make PIs")
    whom = load(connection, email, lock=True)
    if pi:
        require_enabled(whom, settings.ca_operator)
    if whom.is_pi == pi:
        return
    connection.execute(update(account).where(account.c.id == whom.id).values(is_pi=pi))
    note(connection, now, actor.name, "make-pi" if pi else "no-pi", whom.email)
    if not pi and not settings.open:
        revoke(connection, whom.identity, "no longer a PI", now, only=certificate.c.pi)
    told = letters.became_pi if pi else letters.no_longer_pi
    post(connection, told(whom.email, whom.name, whom.site), now)


def set_admin(connection: Connection, actor: Actor, email: str, admin: bool, now: datetime) -> None:
    """The operator of plc only. Losing the flag revokes the certificates that carry it."""
    if not actor.is_operator:
        raise Refusal(Code.NOT_ALLOWED, "only the operator of plc makes admins, with dslice plc make-admin")
    whom = load(connection, email, lock=True)
    connection.execute(update(account).where(account.c.id == whom.id).values(is_admin=admin))
    note(connection, now, actor.name, "make-admin" if admin else "no-admin", whom.email)
    if not admin:
        revoke(connection, whom.identity, "no longer an admin", now, only=certificate.c.admin)


def revoke_all(connection: Connection, actor: Actor, identity: Identity, reason: str, now: datetime) -> int:
    """Every certificate of a user (who may ask for another) or a service (which needs a new token); how many."""
    if not actor.is_operator:
        raise Refusal(Code.NOT_ALLOWED, "only the operator of plc revokes other people's certificates")
    known = select(certificate.c.serial).where(certificate.c.role == identity.role, certificate.c.name == identity.name)
    if connection.execute(known.limit(1)).one_or_none() is None:
        raise Refusal(Code.NOT_FOUND, f"{identity} has no certificate; check the spelling")
    note(connection, now, actor.name, "revoke", str(identity), reason)
    return revoke(connection, identity, reason, now)
