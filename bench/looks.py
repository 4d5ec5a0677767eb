"""Beat's looks into PostgreSQL and what users read: beside a long history against without one.

Looks are for due rows only, so that history must not make them slower: the ratio should stay near 1.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from bench.records import database
from bench.tools.scale import full
from bench.tools.tables import Table
from lifecycle.deletion import outlive
from lifecycle.events import history
from lifecycle.inventory import nodes, to_heal
from lifecycle.keypair import behind
from lifecycle.notices import announce
from lifecycle.outbox import take
from lifecycle.presence import absent
from lifecycle.recovery import oldest_due, refillable, republish
from lifecycle.renewal import due, over
from lifecycle.retention import forget, purge, unreleased
from lifecycle.slices import find, slivers
from lifecycle.transitions import expire

SLICES, NODES = 100, 50  # what lives: 5,000 slivers in all
# The history: deleted slices, nodes of each, how often each was renewed: twice a day, so that nothing of it is so old
# that clean would forget it, which is no look. 200,000 ended steps, or 10,000,000.
GONE, GONE_NODES, RENEWALS, RENEWALS_FULL = 1000, 20, 10, 500
ROUNDS = 15


def _clean(found: Connection) -> None:
    expire(found)
    outlive(found, 60)
    purge(found, None)
    forget(found, 365)


LOOKS: dict[str, Callable[[Connection], object]] = {
    "sweep": lambda found: (republish(found, 60), refillable(found), oldest_due(found)),
    "dead workers": absent,
    "autorenew": lambda found: (over(found), due(found)),
    "clean": _clean,
    "give names back": unreleased,
    "notify": announce,
    "deliver": lambda found: (take(found, letters=True), take(found, letters=False)),
    "reconcile": lambda found: (nodes(found), to_heal(found, 900), behind(found, 900)),
    "svm status": lambda found: slivers(found, find(found, "live7", None).id),
    "svm history": lambda found: history(found, find(found, "live7", None).id),
}

FILL = (
    """INSERT INTO svm.slice (name, owner, numnodes, leaselen, state, slice_id, autorenew, standing, standing_until,
           released_at, ended_at)
       SELECT :prefix || n, 'spiffe://planet-lab/user/bench@example.org', :nodes, 1209600,
           CASE WHEN :living THEN 'open' ELSE 'deleted' END, gen_random_uuid(), :living, 'x',
           now() + interval '60 days', gone.at, gone.at
       FROM generate_series(1, :slices) AS n, (SELECT CASE WHEN NOT :living THEN now() END AS at) AS gone""",
    """INSERT INTO svm.sliver (slice, node, position, node_name, api, agent, frontdoor_address, frontdoor_port,
           host_key, jti, generation, changed_at, state, lease, expires_at, renew_at)
       SELECT x.id, '10.0.0.' || n, n, 'n' || n, 'https://n', 'agent', '10.0.0.1', 22, 'key', 'jti', 1,
           now() - interval '5 days',
           CASE WHEN :living THEN 'running' ELSE 'deleted' END, CASE WHEN :living THEN repeat('l', 900) END,
           now() + interval '10 days' * random(), CASE WHEN :living THEN now() + interval '6 days' END
       FROM svm.slice x, generate_series(1, :nodes) AS n WHERE starts_with(x.name, :prefix)""",
    """INSERT INTO svm.node (node, node_name, api, seen_at)
       SELECT '10.0.0.' || n, 'n' || n, 'https://n', now() FROM generate_series(1, :nodes) AS n
       ON CONFLICT (node) DO NOTHING""",
    """INSERT INTO svm.operation (slice, slice_name, verb, queue, owner, actor, parallelism, connect_timeout, batch,
           seq, ok, outcome, started_at, ended_at)
       SELECT x.id, x.name, 'renewslice', 'renewals', x.owner, 'beat', 8, 10, 1, :nodes, :nodes, 'done', day.at, day.at
       FROM svm.slice x, (SELECT now() - interval '12 hours' * n AS at FROM generate_series(1, :renewals) AS n) AS day
       WHERE starts_with(x.name, :prefix)""",
    """INSERT INTO svm.step (operation, slice, node, kind, state, published_at, publishes, started_at, ended_at)
       SELECT o.id, o.slice, v.node, 'renew', 'done', o.ended_at, 1, o.started_at, o.ended_at
       FROM svm.operation o JOIN svm.sliver v ON v.slice = o.slice WHERE starts_with(o.slice_name, :prefix)""",
    """INSERT INTO svm.event (operation, seq, slice, at, actor, type, node, kind, ok)
       SELECT o.id, v.position, o.slice, o.ended_at, 'beat', 'node', v.node, 'renew', true
       FROM svm.operation o JOIN svm.sliver v ON v.slice = o.slice WHERE starts_with(o.slice_name, :prefix)""",
)


def main() -> Sequence[Table]:
    renewals = RENEWALS_FULL if full() else RENEWALS
    with ExitStack() as opened:
        folders = [Path(opened.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        without, beside = (opened.enter_context(database(folder)) for folder in folders)
        for found in (without, beside):
            fill(found, prefix="live", slices=SLICES, nodes=NODES, renewals=2, living=True)
        fill(beside, prefix="gone", slices=GONE, nodes=GONE_NODES, renewals=renewals, living=False)
        both = {name: best((without, beside), look) for name, look in LOOKS.items()}
    rows = [(name, base * 1000, other * 1000, other / base) for name, (base, other) in both.items()]
    old = f"with {GONE * GONE_NODES * renewals:,} old steps"
    title = f"{SLICES * NODES:,} living slivers, best of {ROUNDS} looks in turns"
    return [Table("looks", title, ("ms", "without", old, "ratio"), rows)]


def fill(found: Engine, *, prefix: str, slices: int, nodes: int, renewals: int, living: bool) -> None:
    """Rows as they are after so many slices of so many nodes were renewed so often."""
    bound = {"prefix": prefix, "slices": slices, "nodes": nodes, "renewals": renewals, "living": living}
    with found.begin() as connection:
        for statement in FILL:
            connection.execute(text(statement), bound)
    with found.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def best(databases: Sequence[Engine], look: Callable[[Connection], object]) -> list[float]:
    """Seconds at each of these, the best of some looks in turns."""
    rounds = [[timed(found, look) for found in databases] for _ in range(ROUNDS)]
    return [min(times) for times in zip(*rounds, strict=True)]


def timed(found: Engine, look: Callable[[Connection], object]) -> float:
    """Seconds; what it writes is taken back."""
    with found.connect() as connection:
        began = time.perf_counter()
        look(connection)
        seconds = time.perf_counter() - began
        connection.rollback()
    return seconds
