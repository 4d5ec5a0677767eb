"""The agent's tables: what nodes advertise, what was promised, what was answered (schema `agent`).

A ticket's life, and who acts next:

    reserved ──▶ issued ──▶ returned   the service manager gave it back; its node hears of it and refuses it
        │           │           ├─▶ deleted: the node said in its advertisement that it is burnt
        │           ├───────────┘
        │           └─────▶ (past expires_at it counts for nothing)
        └─▶ deleted: plc refused the name, or the agent died before it had asked (expires_at is short)

All before `expires_at` are *open*: a node would take each of them. A node holds one sliver of a slice, so however many
tickets of one slice are open for it, they take one of its advertised free slots.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from models.database import new_metadata

metadata = new_metadata("agent")

ad = Table(
    "ad",
    metadata,
    Column("node", Text, primary_key=True),
    # Users name nodes by address, so two nodes never share one.
    Column("address", Text, nullable=False, unique=True),
    Column("api", Text, nullable=False),
    Column("site", Text, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("slots_free", Integer, nullable=False),
    Column("memory_free_mb", Integer, nullable=False),
    Column("max_leaselen", Integer, nullable=False),
    Column("frontdoor_port", Integer, nullable=False),
    Column("host_key", Text, nullable=False),
    Column("simulated", Boolean, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    # Null where the node does not say it.
    Column("disk_free_mb", Integer),
    Column("memory_mb", Integer),
    Column("disk_mb", Integer),
    Column("sliver_mb", Integer),
    Column("most_processes", Integer),
    Column("disk_unpromised_mb", Integer),
    Column("images", JSONB(none_as_null=True)),
    Column("quota", Text),
    Column("slivers", Integer),
    Column("version", Text),
    Column("driver", Text),
    CheckConstraint("slots_free >= 0 AND slots_free <= slots", name="slots"),
    CheckConstraint("max_leaselen > 0", name="leaselen"),
    CheckConstraint("frontdoor_port BETWEEN 1 AND 65535", name="port"),
)

# What plc's operator wants, as it was heard last: nodes that get no new slivers.
drain = Table(
    "drain",
    metadata,
    Column("node", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("until", DateTime(timezone=True)),
)

registration = Table(
    "registration",
    metadata,
    Column("slice_id", Uuid, primary_key=True),
    Column("slice", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("registered_at", DateTime(timezone=True), nullable=False),
)

# One answered (or being answered) request for tickets; `response` stays null until the tickets are issued.
request = Table(
    "request",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("caller", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("response", JSONB(none_as_null=True)),
    Column("made_at", DateTime(timezone=True), nullable=False, index=True),
    Index("ix_request_owner", "owner", "made_at"),
    UniqueConstraint("caller", "owner", "route", "key"),
    CheckConstraint("octet_length(digest) = 32", name="digest"),
)

ticket = Table(
    "ticket",
    metadata,
    Column("jti", Text, primary_key=True),
    Column("request_id", BigInteger, ForeignKey(request.c.id, ondelete="SET NULL"), index=True),
    Column("position", Integer, nullable=False),  # in the request's order of allocation
    Column("node", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("slice", Text, nullable=False),
    Column("slice_id", Uuid),
    Column("leaselen", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("made_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False, index=True),
    Column("needs", JSONB, nullable=False, server_default="{}"),
    CheckConstraint("state IN ('reserved', 'issued', 'returned')", name="state"),
    CheckConstraint("state = 'reserved' OR slice_id IS NOT NULL", name="registered"),
    CheckConstraint("leaselen > 0", name="leaselen"),
    CheckConstraint("expires_at > made_at", name="life"),
    Index("ix_ticket_node", "node", "expires_at"),
    Index("ix_ticket_owner", "owner", "expires_at"),
    Index("ix_ticket_returned", "node", postgresql_where=text("state = 'returned'")),
)
