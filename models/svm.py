"""Tables of svmd (schema `svm`): slices, slivers, operations, steps, events. What must hold stands here as constraints.

Who writes what, in `lifecycle/`: `operations` begins, `outcome` claims, `record` writes down, `recovery` repairs,
`presence` knows the workers. Times are the database's.
"""

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from models.database import new_metadata
from models.states import (
    LEASED,
    LIFECYCLE,
    LIVE,
    HookState,
    Kind,
    Outcome,
    Queue,
    SliceState,
    SliverState,
    StepState,
    Verb,
)
from trust.documents import MAX_LEASELEN

metadata = new_metadata("svm")


def _one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({_listed(values)})", name=f"{column}_known")


def _listed(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def _time(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def _count(name: str) -> Column[int]:
    return Column(
        name, Integer, CheckConstraint(f"{name} >= 0", name=f"{name}_counts"), nullable=False, server_default="0"
    )


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=text("false"))


# `id` is ours; `slice_id` is the registration's, which the first tickets bring (plc has none before).
slice_table = Table(
    "slice",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True, server_default=func.gen_random_uuid()),
    Column("slice_id", UUID(as_uuid=True)),
    Column("name", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("numnodes", Integer, CheckConstraint("numnodes > 0", name="numnodes_positive"), nullable=False),
    Column(
        "leaselen",
        Integer,
        CheckConstraint(f"leaselen BETWEEN 1 AND {MAX_LEASELEN}", name="leaselen_range"),
        nullable=False,
    ),
    _flag("leaselen_changed"),  # since its first tickets: nodes are told of it at each renewal
    Column("ips", ARRAY(Text), nullable=False, server_default="{}"),
    Column("agents", ARRAY(Text), nullable=False, server_default="{}"),
    Column("needs", JSONB, nullable=False, server_default="{}"),  # of each sliver, with the digest of its image
    Column("public_key", Text),
    Column("sealed_key", LargeBinary),
    _count("pair_generation"),  # of the pair that is there; `pair_wanted` is ahead until the next one is made
    _count("pair_wanted"),
    Column("working", Text),
    _time("working_until"),
    Column("standing", Text),
    _time("standing_until"),
    _flag("standing_heals"),
    Column("by_link", Text),  # a standing delegation for links in letters alone
    _time("by_link_until"),
    _time("refused_before"),  # undelegate: delegations issued earlier are not taken again
    _flag("autorenew"),
    _time("autorenew_until"),
    _flag("heal"),
    _count("key_generation"),
    Column("state", Text, nullable=False, server_default=SliceState.OPEN),
    _time("held_until"),  # the latest that an unreached node may still hold a sliver of it
    _time("released_at"),  # when plc had its name back
    _now("created_at"),
    _time("ended_at"),
    _one_of("state", SliceState),
    CheckConstraint("(public_key IS NULL) = (sealed_key IS NULL)", name="key_pair_whole"),
    CheckConstraint("state <> 'deleted' OR sealed_key IS NULL", name="no_key_kept"),
    Index("uq_slice_open_name", "name", unique=True, postgresql_where=text("state = 'open'")),
    Index("ix_slice_owner", "owner", "name"),
    Index("ix_slice_unreleased", "id", postgresql_where=text("state <> 'open' AND released_at IS NULL")),
)

# `node` is the address that users see; `node_name` the name in the node's certificate.
sliver = Table(
    "sliver",
    metadata,
    Column("slice", UUID(as_uuid=True), ForeignKey(slice_table.c.id, ondelete="CASCADE"), primary_key=True),
    Column("node", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("node_name", Text, nullable=False),
    Column("api", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("frontdoor_address", Text, nullable=False),
    Column("frontdoor_port", Integer, nullable=False),
    Column("host_key", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("ticket", Text),
    Column("jti", Text),
    _time("redeemed_at"),  # when a redemption was first sent: from then on only the node can take the ticket back
    Column("lease", Text),
    _count("generation"),
    _time("expires_at"),
    _time("renew_at"),
    _count("key_generation"),
    _count("pair_generation"),
    _count("attempts"),
    Column("error_code", Text),
    Column("last_error", Text),
    _time("died_at"),  # of one that is stopped, when its VM ended by itself; NULL: its owner had it stopped
    Column("replaces", Text),  # the slice's node whose sliver ends as soon as this one runs
    _now("changed_at"),
    _one_of("state", SliverState),
    CheckConstraint("state <> 'ticketed' OR (ticket IS NOT NULL AND expires_at IS NOT NULL)", name="ticketed_whole"),
    CheckConstraint(
        f"state NOT IN ({_listed(LEASED)}) OR (lease IS NOT NULL AND expires_at IS NOT NULL AND generation > 0)",
        name="leased_whole",
    ),
    CheckConstraint("state <> 'deleted' OR (ticket IS NULL AND lease IS NULL)", name="deleted_empty"),
    Index("ix_sliver_renew_at", "renew_at", postgresql_where=text(f"state IN ({_listed(LEASED)})")),
    Index("ix_sliver_expires_at", "expires_at", postgresql_where=text(f"state IN ({_listed(LIVE)})")),
    Index("ix_sliver_node", "node", "state"),
    Index("ix_sliver_living", "slice", postgresql_where=text("state <> 'deleted'")),
    Index("ix_sliver_gone", "changed_at", postgresql_where=text("state = 'deleted'")),
)

slice_key = Table(
    "slice_key",
    metadata,
    Column("slice", UUID(as_uuid=True), ForeignKey(slice_table.c.id, ondelete="CASCADE"), primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("line", Text, nullable=False),
    _now("added_at"),
)

operation = Table(
    "operation",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True, server_default=func.gen_random_uuid()),
    Column("slice", UUID(as_uuid=True), ForeignKey(slice_table.c.id, ondelete="CASCADE")),
    Column("slice_name", Text, nullable=False, server_default=""),
    Column("verb", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("parallelism", Integer, CheckConstraint("parallelism > 0", name="parallelism_positive"), nullable=False),
    Column("connect_timeout", Integer, CheckConstraint("connect_timeout > 0", name="timeout_positive"), nullable=False),
    Column("batch", Integer, CheckConstraint("batch BETWEEN 1 AND 64", name="batch_range"), nullable=False),
    Column("options", JSONB, nullable=False, server_default="{}"),
    Column("idempotency_key", Text),
    _count("open_steps"),
    _count("in_flight"),
    _count("seq"),
    _count("ok"),
    _count("failed"),
    Column("outcome", Text),
    Column("code", Text),
    Column("reason", Text),
    _time("cancelled_at"),
    _now("started_at"),
    _time("ended_at"),
    _one_of("verb", Verb),
    _one_of("queue", Queue),
    _one_of("outcome", Outcome),
    CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="ended_whole"),
    CheckConstraint("ended_at IS NULL OR open_steps = 0", name="ended_empty"),
    CheckConstraint("in_flight <= open_steps", name="window_within"),
    # One open lifecycle operation per slice; one open reconcile and one canary in all; key verbs may run beside.
    Index(
        "uq_operation_open",
        "slice",
        unique=True,
        postgresql_where=text(f"ended_at IS NULL AND verb IN ({_listed(LIFECYCLE)})"),
    ),
    Index(
        "uq_operation_open_alone",
        "verb",
        unique=True,
        postgresql_where=text("ended_at IS NULL AND slice IS NULL AND verb IN ('reconcile', 'canary')"),
    ),
    Index(
        "uq_operation_request",
        "owner",
        "verb",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
    Index("ix_operation_slice", "slice", "started_at"),
    Index("ix_operation_ended_at", "ended_at"),
    Index("ix_operation_unended", "id", postgresql_where=text("ended_at IS NULL")),
)

step = Table(
    "step",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("operation", UUID(as_uuid=True), ForeignKey(operation.c.id, ondelete="CASCADE"), nullable=False),
    Column("slice", UUID(as_uuid=True)),
    Column("node", Text),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=StepState.HELD),
    Column("claim_token", UUID(as_uuid=True)),
    _time("claim_until"),
    Column("claim_worker", Integer),  # whose claim it is, or was last; NULL: of a worker without a session
    _time("published_at"),
    _count("publishes"),
    _now("next_run_at"),
    _count("attempts"),
    _count("tries"),
    Column("error_code", Text),
    Column("error", Text),
    _now("created_at"),
    _time("started_at"),
    _time("ended_at"),
    _one_of("kind", Kind),
    _one_of("state", StepState),
    UniqueConstraint("operation", "node", "kind", postgresql_nulls_not_distinct=True),
    CheckConstraint("(state = 'running') = (claim_token IS NOT NULL)", name="running_claimed"),
    CheckConstraint("(claim_token IS NULL) = (claim_until IS NULL)", name="claim_whole"),
    CheckConstraint("state <> 'released' OR published_at IS NOT NULL", name="released_published"),
    CheckConstraint("(state IN ('done', 'failed')) = (ended_at IS NOT NULL)", name="ended_whole"),
    Index("ix_step_held", "operation", "id", postgresql_where=text("state = 'held'")),
    Index("ix_step_released", "published_at", postgresql_where=text("state = 'released'")),
    Index("ix_step_running", "claim_until", postgresql_where=text("state = 'running'")),
)

# Workers that are there: each holds the advisory lock of its number (`lifecycle/presence.py`).
worker = Table(
    "worker",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    _now("entered_at"),
)

# Append-only: a trigger in the first revision refuses changes. Purging a slice for good takes its history along.
event = Table(
    "event",
    metadata,
    Column("operation", UUID(as_uuid=True), ForeignKey(operation.c.id, ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("slice", UUID(as_uuid=True)),
    _now("at"),
    Column("actor", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("node", Text),
    Column("kind", Text),
    Column("before", Text),
    Column("after", Text),
    Column("ok", Boolean),
    Column("code", Text),
    Column("reason", Text),
    Column("detail", JSONB, nullable=False, server_default="{}"),
    ForeignKeyConstraint(["slice"], [slice_table.c.id], ondelete="CASCADE"),
    Index("ix_event_slice", "slice", "at"),
)

# What reconcile saw: when each node last answered, and since when it does not.
node_table = Table(
    "node",
    metadata,
    Column("node", Text, primary_key=True),
    Column("node_name", Text, nullable=False),
    Column("api", Text, nullable=False),
    _time("seen_at"),
    _time("silent_since"),
    Column("error_code", Text),
    Column("last_error", Text),
    Column("leaving", Text),  # why its operator wants it to be empty: slices that heal get others in its place
)

# Slivers on nodes that the tables do not have, and slivers of the tables that are on no node (`svm doctor`).
finding = Table(
    "finding",
    metadata,
    Column("node", Text, primary_key=True),
    Column("slice_name", Text, primary_key=True),
    Column("what", Text, CheckConstraint("what IN ('orphan', 'missing')", name="what_known"), primary_key=True),
    Column("slice_id", UUID(as_uuid=True)),
    _now("first_seen_at"),
    _now("seen_at"),
)

# Deadlines that an owner was told of, once each; of a lease's end, whether the link in the letter was used.
notice = Table(
    "notice",
    metadata,
    Column("slice", UUID(as_uuid=True), ForeignKey(slice_table.c.id, ondelete="CASCADE"), primary_key=True),
    Column("about", Text, primary_key=True),
    Column("deadline", DateTime(timezone=True), primary_key=True),
    Column("days", Integer, primary_key=True),
    _now("made_at"),
    _time("used_at"),
    Column("operation", UUID(as_uuid=True)),  # the renewal that the link asked for; it may be forgotten earlier
)

# Where a slice's owner wants to be told by HTTP, and of what.
hook = Table(
    "hook",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True, server_default=func.gen_random_uuid()),
    Column("slice", UUID(as_uuid=True), ForeignKey(slice_table.c.id, ondelete="CASCADE"), nullable=False),
    Column("url", Text, nullable=False),
    Column("states", ARRAY(Text), nullable=False),
    Column("sealed_secret", LargeBinary, nullable=False),
    _now("made_at"),
    UniqueConstraint("slice", "url"),
    CheckConstraint(f"states <@ ARRAY[{_listed(HookState)}] AND cardinality(states) > 0", name="states_known"),
)

# The outbox: letters to slices' owners (without a hook) and what hooks are told. `id` is the same at every try.
delivery = Table(
    "delivery",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True, server_default=func.gen_random_uuid()),
    Column("slice", UUID(as_uuid=True), ForeignKey(slice_table.c.id, ondelete="CASCADE"), nullable=False),
    Column("hook", UUID(as_uuid=True), ForeignKey(hook.c.id, ondelete="CASCADE")),
    Column("about", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    Column("events", Integer, nullable=False, server_default="1"),  # what happened so often within the hour
    _now("made_at"),
    _now("due_at"),
    _now("next_try_at"),
    _count("attempts"),
    _time("sent_at"),
    _time("given_up_at"),
    Column("status", Integer),
    Column("last_error", Text),
    # What has not gone out yet takes up what else happens.
    Index("uq_delivery_waiting", "hook", "about", unique=True, postgresql_where=text("attempts = 0")),
    Index("ix_delivery_due", "next_try_at", postgresql_where=text("sent_at IS NULL AND given_up_at IS NULL")),
    Index("ix_delivery_hook", "hook", "due_at"),
    Index("ix_delivery_slice", "slice"),
    Index("ix_delivery_made_at", "made_at"),
)
