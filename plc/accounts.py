"""Accounts and sites: who is at which site, enabled by whom, PI or not, and who may change that.

An account is asked for, then enabled by a PI of its own site (or an admin); admins make PIs; the operator of plc makes
admins. E-mails are lower case and never reused: accounts are disabled, not deleted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, update
from sqlalchemy.dialects.postgresql import insert

from models.plc import account, site
from plc import letters
from plc.client.values import AccountState
from plc.journal import note
from plc.mail import post, was_posted
from plc.settings import Settings
from trust.errors import Code, Refusal
from trust.identity import Identity

MOST_REQUESTED = 200  # accounts of one site that wait for a PI
LONGEST_TEXT = 200  # characters of a name, a title, a contact field
CONTACT_COLUMNS = ("address", "city", "province", "zip", "country", "phone", "url")


@dataclass(frozen=True, slots=True)
class Account:
    """One account with its site's name; contact fields by their column names."""

    id: int
    email: str
    name: str
    title: str
    site_id: int
    site: str
    state: AccountState
    is_pi: bool
    is_admin: bool
    reason: str
    password_hash: str
    contact: Mapping[str, str]

    @property
    def identity(self) -> Identity:
        return Identity.user(self.email)

    @property
    def account_role(self) -> str:
        """For people: what the account is."""
        flags = [word for word, given in (("PI", self.is_pi), ("admin", self.is_admin)) if given]
        return ", ".join([self.state.value, *flags])


@dataclass(frozen=True, slots=True)
class Actor:
    """Who wants something done: a user with an enabled account, a service, or the operator at plc's own machine."""

    name: str
    site_id: int | None = None
    is_pi: bool = False
    is_admin: bool = False
    is_operator: bool = False
    is_service: bool = False

    @classmethod
    def of(cls, who: Account) -> "Actor":
        return cls(who.email, who.site_id, who.is_pi, who.is_admin)


OPERATOR = Actor("operator", is_admin=True, is_operator=True)


# Who may: pure decisions


def may_see_contact(actor: Actor, whom: Account) -> bool:
    """Contact fields only to oneself, PIs of the same site and admins."""
    return actor.is_admin or actor.name == whom.email or _is_pi_of(actor, whom)


def require_may_enable(actor: Actor, whom: Account) -> None:
    """A PI enables new accounts of the own site; what was disabled, only an admin enables again."""
    if actor.is_admin:
        return
    if not _is_pi_of(actor, whom):
        raise Refusal(Code.NOT_ALLOWED, f"only a PI of {whom.site} or an admin enables {whom.email}; ask one of them")
    if whom.state is AccountState.DISABLED:
        raise Refusal(Code.NOT_ALLOWED, f"{whom.email} was disabled; only an admin enables it again")


def require_may_disable(actor: Actor, whom: Account) -> None:
    """A PI disables plain accounts of the own site; PIs and admins fall to an admin, admins to the operator."""
    if actor.is_operator or (actor.is_admin and not whom.is_admin):
        return
    if not _is_pi_of(actor, whom) or whom.is_pi or whom.is_admin:
        raise Refusal(Code.NOT_ALLOWED, f"you may not disable {whom.email}; ask an admin or the operator of plc")


def require_admin(actor: Actor, what: str) -> None:
    if not actor.is_admin:
        raise Refusal(Code.NOT_ALLOWED, f"only an admin may {what}; ask one")


def _is_pi_of(actor: Actor, whom: Account) -> bool:
    return actor.is_pi and actor.site_id == whom.site_id


# Reading


def load(connection: Connection, email: str, *, lock: bool = False) -> Account:
    """The account; ``lock`` keeps it as it is, and others who lock it out, until the transaction ends.

    Locks are taken in one order, the account first. Raises Refusal(NOT_FOUND).
    """
    found = find(connection, email, lock=lock)
    if found is None:
        raise _unknown(email)
    return found


def find(connection: Connection, email: str, *, lock: bool = False) -> Account | None:
    statement = _accounts().where(account.c.email == Identity.user(email).name)
    if lock:
        statement = statement.with_for_update(key_share=True, of=account)
    row = connection.execute(statement).one_or_none()
    return _account(row) if row else None


def require_enabled(who: Account, operator: str) -> None:
    """Refusal(NOT_ALLOWED) that says who can help."""
    if who.state is AccountState.REQUESTED:
        raise Refusal(Code.NOT_ALLOWED, f"account {who.email} is not enabled yet; ask a PI of {who.site}")
    if who.state is AccountState.DISABLED:
        raise Refusal(Code.NOT_ALLOWED, f"account {who.email} is disabled ({who.reason}); ask {operator}")


def require_may_own_slices(who: Account, settings: Settings) -> None:
    """Enabled, and a PI unless plc is open to all (howto, introduction). Raises Refusal(NOT_ALLOWED)."""
    require_enabled(who, settings.ca_operator)
    if not (who.is_pi or settings.open):
        raise Refusal(Code.NOT_ALLOWED, f"only PIs can have slices and {who.email} is not one; ask a PI of {who.site}")


def visible(connection: Connection, actor: Actor, email: str) -> Account:
    """An account as others may know it: once enabled. Services and those who look after it see it in any state."""
    whom = load(connection, email)
    if whom.state is AccountState.ENABLED or actor.is_service or may_see_contact(actor, whom):
        return whom
    raise _unknown(email)


def visible_to(connection: Connection, actor: Actor) -> Sequence[Account]:
    """The accounts that somebody looks after: a PI's own site, everyone for admins, else oneself."""
    statement = _accounts().order_by(account.c.email)
    if not actor.is_admin:
        mine = account.c.site_id == actor.site_id if actor.is_pi else account.c.email == actor.name
        statement = statement.where(mine)
    return [_account(row) for row in connection.execute(statement)]


def sites(connection: Connection) -> Sequence[str]:
    return connection.scalars(select(site.c.name).order_by(site.c.name)).all()


# Changing


def add_site(connection: Connection, actor: Actor, name: str, now: datetime) -> None:
    """Raises Refusal NAME_TAKEN, NOT_ALLOWED, BAD_INPUT."""
    require_admin(actor, "add sites")
    named = clean(name, "a site's name", least=1)
    added = insert(site).values(name=named, made_at=now).on_conflict_do_nothing().returning(site.c.id)
    if connection.scalar(added) is None:
        raise Refusal(Code.NAME_TAKEN, f"there is a site {named} already")
    note(connection, now, actor.name, "add-site", named)


@dataclass(frozen=True, slots=True)
class Application:
    """What somebody who wants an account says of themselves; ``contact`` by column names, all optional."""

    email: str
    name: str
    site: str
    title: str
    contact: Mapping[str, str]

    def checked(self) -> "Application":
        """With every text clean; Refusal(BAD_INPUT) names the field that is not."""
        unknown = set(self.contact) - set(CONTACT_COLUMNS)
        if unknown:
            raise Refusal(Code.BAD_INPUT, f"unknown contact field {', '.join(sorted(unknown))}; leave it out")
        return Application(
            email=Identity.user(self.email).name,
            name=clean(self.name, "name", least=1),
            site=clean(self.site, "site", least=1),
            title=clean(self.title, "title"),
            contact={field: clean(text, field) for field, text in self.contact.items()},
        )


def sign_up(connection: Connection, wanted: Application, password_hash: str, operator: str, now: datetime) -> None:
    """Ask for an account; the PIs of the site get a letter.

    The same whether or not the e-mail has an account: only its holder is told, by letter. Refusal(BAD_INPUT) for an
    unknown site.
    """
    applied = wanted.checked()
    values = {"state": AccountState.REQUESTED, "asked_at": now, "password_hash": password_hash}
    _require_room(connection, applied.site)
    if not _insert(connection, applied, values):
        told = letters.sign_up_again(applied.email)
        if not was_posted(connection, told, now - timedelta(days=1)):
            post(connection, told, now)
        return
    note(connection, now, applied.email, "sign-up", applied.email, applied.site)
    for recipient in _pis(connection, applied.site) or [operator]:
        post(connection, letters.account_asked_for(recipient, applied.email, applied.name, applied.site), now)


def add(
    connection: Connection,
    actor: Actor,
    wanted: Application,
    password_hash: str,
    now: datetime,
    *,
    is_pi: bool = False,
    is_admin: bool = False,
) -> bool:
    """The operator adds an account that is enabled at once; False, and nothing changed, if the e-mail has one."""
    if not actor.is_operator:
        raise Refusal(Code.NOT_ALLOWED, "only the operator of plc adds accounts; sign up instead")
    applied = wanted.checked()
    flags = {"is_pi": is_pi, "is_admin": is_admin}
    state = {"state": AccountState.ENABLED, "asked_at": now, "decided_at": now}
    if not _insert(connection, applied, {**flags, **state, "password_hash": password_hash}):
        return False
    note(connection, now, actor.name, "add", applied.email, applied.site)
    return True


def enable(connection: Connection, actor: Actor, email: str, now: datetime) -> Account:
    """Requested or disabled → enabled; enabled already is fine. Raises Refusal NOT_FOUND, NOT_ALLOWED."""
    whom = load(connection, email)
    require_may_enable(actor, whom)
    changed = connection.execute(
        update(account)
        .where(account.c.id == whom.id, account.c.state == whom.state, account.c.state != AccountState.ENABLED)
        .values(state=AccountState.ENABLED, decided_at=now, reason="", stopped_at=None)
    ).rowcount
    if changed:
        note(connection, now, actor.name, "enable", whom.email)
        post(connection, letters.account_enabled(whom.email, whom.name, whom.site), now)
    return load(connection, email)


def set_password(connection: Connection, actor: Actor, email: str, password_hash: str, now: datetime) -> None:
    """Oneself, or the operator for somebody who forgot it."""
    whom = load(connection, email)
    if not actor.is_operator and actor.name != whom.email:
        raise Refusal(Code.NOT_ALLOWED, f"the password of {whom.email} is theirs to change")
    connection.execute(update(account).where(account.c.id == whom.id).values(password_hash=password_hash))
    note(connection, now, actor.name, "password", whom.email)


def clean(text: str, field: str, *, least: int = 0) -> str:
    """One printable line of ``least`` to 200 characters; Refusal(BAD_INPUT) names the field."""
    stripped = text.strip()
    if not least <= len(stripped) <= LONGEST_TEXT or not stripped.isprintable():
        raise Refusal(Code.BAD_INPUT, f"{field} must be one line of {least} to {LONGEST_TEXT} printable characters")
    return stripped


def stated(reason: str) -> str:
    """Why somebody is refused something, in one printable line; Refusal(BAD_INPUT) if nothing is said."""
    why = " ".join(reason.split())
    if not why or not why.isprintable():
        raise Refusal(Code.BAD_INPUT, "say why, with --reason and in plain text: the user reads it")
    return why


def _unknown(email: str) -> Refusal:
    return Refusal(Code.NOT_FOUND, f"there is no account {Identity.user(email).name}; check the spelling")


def _insert(connection: Connection, applied: Application, values: Mapping[str, Any]) -> bool:
    site_id = connection.scalar(select(site.c.id).where(site.c.name == applied.site))
    if site_id is None:
        raise Refusal(Code.BAD_INPUT, f"there is no site {applied.site}; dslice plc sites lists them")
    said = {"email": applied.email, "name": applied.name, "title": applied.title, "site_id": site_id}
    row = {**applied.contact, **said, **values}
    inserted = insert(account).values(row).on_conflict_do_nothing().returning(account.c.id)
    return connection.scalar(inserted) is not None


def _require_room(connection: Connection, site_name: str) -> None:
    """Strangers must not fill the table: it is forgotten what nobody enables (`plc.forgetting`)."""
    waits = account.c.state == AccountState.REQUESTED, site.c.name == site_name
    found = select(func.count()).select_from(account).join(site, site.c.id == account.c.site_id).where(*waits)
    if (connection.scalar(found) or 0) >= MOST_REQUESTED:
        raise Refusal(Code.OVER_CAPACITY, f"too many at {site_name} wait for an account; ask its PI, or try later")


def _pis(connection: Connection, site_name: str) -> Sequence[str]:
    able = (site.c.name == site_name) & account.c.is_pi & (account.c.state == AccountState.ENABLED)
    statement = select(account.c.email).join(site, site.c.id == account.c.site_id)
    return connection.scalars(statement.where(able).order_by(account.c.email)).all()


def _accounts() -> Select[Any]:
    return select(account, site.c.name.label("site")).join(site, site.c.id == account.c.site_id)


def _account(row: Row[Any]) -> Account:
    return Account(
        id=row.id,
        email=row.email,
        name=row.name,
        title=row.title,
        site_id=row.site_id,
        site=row.site,
        state=AccountState(row.state),
        is_pi=row.is_pi,
        is_admin=row.is_admin,
        reason=row.reason,
        password_hash=row.password_hash,
        contact={column: getattr(row, column) for column in CONTACT_COLUMNS},
    )
