"""plc's tables (schema `plc`): accounts, certificates and their requests, services, slice names, the outbox.

What must never happen is refused here as well: an e-mail given to somebody else, two open requests of one account,
an issued request without a certificate, a token used by halves. Times are UTC. The CA's key is never in here.

```
account              requested ──enable──▶ enabled ──disable──▶ disabled ──enable──▶ enabled
                     (a PI acts next)      (the user)            (an admin)
certificate_request  pending ──approve──▶ issued | ──deny, replaced, disabled──▶ denied
                     (the operator)
slice_name           registered ──each agent released it──▶ released ──register──▶ registered (a new slice_id)
letter               written ──▶ sent | given up (the mail server said never)
removal              ordered ──the node did it──▶ done | past expires_at: no lease that it was about is left
                     (the node)
```
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from models.database import new_metadata

metadata = new_metadata("plc")


def _moment(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _text(name: str) -> Column[str]:
    """A text that may be empty but is there."""
    return Column(name, Text, nullable=False, server_default="")


site = Table(
    "site",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _moment("made_at"),
    CheckConstraint("name <> '' AND name = btrim(name)", name="name_given"),
)

# Rows are never deleted (but for those that nobody ever enabled) and e-mails never changed, by triggers in the
# revisions: nobody else ever gets an e-mail.
account = Table(
    "account",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("site_id", BigInteger, ForeignKey(site.c.id), nullable=False),
    Column("name", Text, nullable=False),
    _text("title"),
    Column("password_hash", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("is_pi", Boolean, nullable=False, server_default=text("false")),
    Column("is_admin", Boolean, nullable=False, server_default=text("false")),
    _text("address"),
    _text("city"),
    _text("province"),
    _text("zip"),
    _text("country"),
    _text("phone"),
    _text("url"),
    _moment("asked_at"),
    _moment("decided_at", nullable=True),
    _text("reason"),
    _moment("stopped_at", nullable=True),
    CheckConstraint("email = lower(email) AND email LIKE '%_@_%'", name="email_lower"),
    CheckConstraint("state IN ('requested', 'enabled', 'disabled')", name="state"),
    CheckConstraint("(state = 'requested') = (decided_at IS NULL)", name="decided"),
    CheckConstraint("stopped_at IS NULL OR state = 'disabled'", name="stopped_is_disabled"),
    Index(None, "site_id"),
    Index("ix_account_requested", "site_id", "asked_at", postgresql_where=text("state = 'requested'")),
)

ssh_key = Table(
    "ssh_key",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("account_id", BigInteger, ForeignKey(account.c.id), nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("line", Text, nullable=False),
    _moment("added_at"),
    UniqueConstraint("account_id", "fingerprint"),
    CheckConstraint("position(chr(10) IN line) = 0", name="one_line"),
)

# Every certificate issued, until it has ended long ago. Serial numbers have up to 160 bits: hexadecimal text.
certificate = Table(
    "certificate",
    metadata,
    Column("serial", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("key_sha256", Text, nullable=False),
    Column("pem", Text, nullable=False),
    Column("pi", Boolean, nullable=False),
    Column("admin", Boolean, nullable=False, server_default=text("false")),
    _moment("issued_at"),
    _moment("not_after"),
    _moment("revoked_at", nullable=True),
    Column("revoked_reason", Text),
    CheckConstraint("role IN ('user', 'agent', 'node', 'svm', 'plc')", name="role"),
    CheckConstraint("NOT pi OR role = 'user'", name="pi_is_user"),
    CheckConstraint("NOT admin OR role = 'user'", name="admin_is_user"),
    CheckConstraint("(revoked_at IS NULL) = (revoked_reason IS NULL)", name="revoked"),
    Index(None, "role", "name"),
    Index(None, "not_after"),
    Index("ix_certificate_revoked", "not_after", postgresql_where=text("revoked_at IS NOT NULL")),
)

certificate_request = Table(
    "certificate_request",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("account_id", BigInteger, ForeignKey(account.c.id), nullable=False),
    Column("public_key", Text, nullable=False),
    Column("key_sha256", Text, nullable=False),
    Column("state", Text, nullable=False),
    _moment("asked_at"),
    _moment("decided_at", nullable=True),
    _text("reason"),
    Column("serial", Text, ForeignKey(certificate.c.serial)),
    CheckConstraint("state IN ('pending', 'issued', 'denied')", name="state"),
    CheckConstraint("(state = 'pending') = (decided_at IS NULL)", name="decided"),
    CheckConstraint("(state = 'issued') = (serial IS NOT NULL)", name="issued_has_certificate"),
    CheckConstraint("(state = 'denied') = (reason <> '')", name="denied_has_reason"),
    Index("uq_certificate_request_pending", "account_id", unique=True, postgresql_where=text("state = 'pending'")),
    Index(None, "account_id", "key_sha256"),
    Index(None, "decided_at"),
    Index("ix_certificate_request_serial", "serial"),
)

# One row, locked by whoever signs next; a revocation marks it stale in its own transaction.
revocation_list = Table(
    "revocation_list",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    _moment("signed_at"),
    Column("pem", Text, nullable=False),
    Column("stale", Boolean, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

service = Table(
    "service",
    metadata,
    Column("role", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("addresses", ARRAY(Text), nullable=False),
    _moment("enrolled_at"),
    Column("url", Text),
    _moment("announced_at", nullable=True),
    CheckConstraint("role IN ('agent', 'node', 'svm')", name="role"),
    CheckConstraint("(url IS NULL) = (announced_at IS NULL)", name="announced"),
)

enrolment_token = Table(
    "enrolment_token",
    metadata,
    Column("secret_sha256", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("addresses", ARRAY(Text), nullable=False),
    _moment("made_at"),
    _moment("expires_at"),
    _moment("used_at", nullable=True),
    Column("used_key_sha256", Text),
    CheckConstraint("role IN ('agent', 'node', 'svm')", name="role"),
    CheckConstraint("cardinality(addresses) > 0", name="bound_to_address"),
    CheckConstraint("expires_at <= made_at + interval '1 hour'", name="one_hour"),
    CheckConstraint("(used_at IS NULL) = (used_key_sha256 IS NULL)", name="used_whole"),
)

slice_name = Table(
    "slice_name",
    metadata,
    Column("name", Text, primary_key=True),
    Column("slice_id", Uuid, nullable=False, unique=True),
    Column("account_id", BigInteger, ForeignKey(account.c.id), nullable=False),
    _moment("registered_at"),
    _moment("released_at", nullable=True),
    _moment("held_until", nullable=True),
    CheckConstraint("name ~ '^[a-z][a-z0-9_]{1,30}$'", name="name"),
    Index(None, "account_id"),
    Index(None, "released_at"),
)

# The agents that issue tickets for a name; it is free only when each of them has given it back.
slice_agent = Table(
    "slice_agent",
    metadata,
    Column(
        "slice_id",
        Uuid,
        ForeignKey(slice_name.c.slice_id, onupdate="CASCADE", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("agent", Text, primary_key=True),
    _moment("released_at", nullable=True),
)

# Nodes that get no new slivers, as the operator wants it; the row goes when they do again.
drain = Table(
    "drain",
    metadata,
    Column("node", Text, primary_key=True),
    Column("who", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("renews", Boolean, nullable=False),
    Column("replaces", Boolean, nullable=False, server_default=text("false")),
    _moment("since"),
    _moment("until", nullable=True),
    CheckConstraint("until > since", name="ends_later"),
)

# Orders to remove slivers (`trust/orders.py`), for nodes to fetch. `node` NULL: all of them, and nobody says when.
removal = Table(
    "removal",
    metadata,
    Column("jti", Text, primary_key=True),
    Column("token", Text, nullable=False),
    Column("signer", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("node", Text),
    Column("slice", Text, nullable=False),
    Column("slice_id", Uuid, nullable=False),
    Column("reason", Text, nullable=False),
    _moment("made_at"),
    _moment("expires_at"),
    _moment("done_at", nullable=True),
    CheckConstraint("signer IN ('admin', 'plc')", name="signer"),
    CheckConstraint("expires_at > made_at", name="ends_later"),
    CheckConstraint("done_at IS NULL OR node IS NOT NULL", name="done_by_one"),
    Index(None, "expires_at"),
)

# How long slivers were granted and used, as nodes tell it (`plc/usage.py`).
usage = Table(
    "usage",
    metadata,
    Column("node", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("slice", Text, nullable=False),
    Column("slice_id", Uuid, nullable=False),
    Column("owner", Text, nullable=False),
    _moment("began"),
    _moment("bound"),
    _moment("ended", nullable=True),
    _moment("told_at"),
    CheckConstraint("kind IN ('granted', 'used')", name="kind"),
    CheckConstraint("ended >= began", name="ends_later"),
    Index(None, "owner", "began"),
    Index(None, "began"),
)

# Failed passwords and other things that one may try only so often, by what they are counted for.
throttle = Table(
    "throttle",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    _moment("last_at"),
    _moment("blocked_until"),
    CheckConstraint("failures >= 0", name="failures"),
    Index(None, "last_at"),
)

# The outbox: a letter is written in the transaction that causes it and sent afterwards, as often as it takes.
letter = Table(
    "letter",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("recipient", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    _moment("written_at"),
    _moment("next_try_at"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _moment("sent_at", nullable=True),
    _moment("given_up_at", nullable=True),
    Column("last_error", Text),
    CheckConstraint("position(chr(10) IN subject) = 0", name="subject_one_line"),
    CheckConstraint("sent_at IS NULL OR given_up_at IS NULL", name="one_end"),
    Index(None, "recipient", "written_at"),
    Index(None, "written_at"),
    Index("ix_letter_due", "next_try_at", postgresql_where=text("sent_at IS NULL AND given_up_at IS NULL")),
)

# Who did what: what an operator reads after something went wrong; forgotten after a year.
event = Table(
    "event",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _moment("at"),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("whom", Text, nullable=False),
    _text("detail"),
    Index(None, "whom"),
    Index(None, "who", "at"),
    Index(None, "at"),
)
