"""Users' SSH public keys: uploaded and removed by their owner, read by every authenticated user (howto, pluserinfo)."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from models.plc import ssh_key
from plc.accounts import Account, Actor, load
from plc.journal import note
from trust.errors import Code, Refusal
from trust.sshkeys import parse_public_key

MOST_KEYS = 20


def keys_of(connection: Connection, whom: Account) -> Sequence[str]:
    """One line each, the newest first."""
    mine = select(ssh_key.c.line).where(ssh_key.c.account_id == whom.id)
    return connection.scalars(mine.order_by(ssh_key.c.added_at.desc(), ssh_key.c.id.desc())).all()


def add_key(connection: Connection, actor: Actor, email: str, text: str, now: datetime) -> str:
    """Upload one; a key that is there already is fine. Its fingerprint. Raises Refusal BAD_INPUT, NOT_ALLOWED."""
    whom = load(connection, email, lock=True)
    _require_own(actor, whom)
    key = parse_public_key(text)
    counted = connection.scalar(select(func.count()).where(ssh_key.c.account_id == whom.id)) or 0
    if counted >= MOST_KEYS:
        raise Refusal(Code.OVER_CAPACITY, f"{whom.email} has {counted} SSH keys, the most allowed; remove one first")
    row = {"account_id": whom.id, "fingerprint": key.fingerprint, "line": key.line, "added_at": now}
    if connection.scalar(insert(ssh_key).values(row).on_conflict_do_nothing().returning(ssh_key.c.id)) is not None:
        note(connection, now, actor.name, "add-key", whom.email, key.fingerprint)
    return key.fingerprint


def remove_key(connection: Connection, actor: Actor, email: str, fingerprint: str, now: datetime) -> None:
    """Raises Refusal NOT_FOUND, NOT_ALLOWED."""
    whom = load(connection, email)
    _require_own(actor, whom)
    mine = (ssh_key.c.account_id == whom.id) & (ssh_key.c.fingerprint == fingerprint)
    if not connection.execute(delete(ssh_key).where(mine)).rowcount:
        raise Refusal(Code.NOT_FOUND, f"{whom.email} has no SSH key {fingerprint[:60]!a}")
    note(connection, now, actor.name, "remove-key", whom.email, fingerprint)


def _require_own(actor: Actor, whom: Account) -> None:
    if not actor.is_operator and actor.name != whom.email:
        raise Refusal(Code.NOT_ALLOWED, f"the SSH keys of {whom.email} are theirs to change")
