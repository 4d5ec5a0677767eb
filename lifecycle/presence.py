"""Which workers live: each holds a lock in a database session of its own, which PostgreSQL lets go when that ends.

A step's `claim_worker` says whose claim it is. When nobody holds that worker's lock any more, its claims lapse at once:
the process is gone, however it ended. What `claim_until` says is the last resort, for a session that PostgreSQL does
not see ending (a machine that vanished from the network) and for claims made without one.

The lock is shared, so that a worker whose session broke takes it again even while the old session lingers.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, text

LOCKS = 0x64736C77  # "dslw": the first number of these locks; the second is the worker's

_STAYS = text("SET idle_session_timeout = 0")  # however long the worker is stopped
_LOCKED = text("SELECT pg_advisory_lock_shared(:locks, :worker)")
_NUMBER = text("SELECT nextval(pg_get_serial_sequence('svm.worker', 'id'))")
_ENTER = text("INSERT INTO svm.worker (id) VALUES (:worker) ON CONFLICT DO NOTHING")
_LEAVE = text("DELETE FROM svm.worker WHERE id = :worker")

_PRESENT = text("""
    SELECT count(DISTINCT l.objid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND d.datname = current_database()
      AND l.classid = CAST(:locks AS oid)
""")

_ABSENT = text("""
    SELECT w.id FROM svm.worker w WHERE NOT EXISTS (
        SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND d.datname = current_database()
          AND l.classid = CAST(:locks AS oid) AND l.objid = CAST(w.id AS oid))
    ORDER BY w.id
""")

# One of those that look at once does it; the rest pass these workers over.
_REMOVE = text("""
    DELETE FROM svm.worker WHERE id IN (
        SELECT id FROM svm.worker WHERE id = ANY(:workers) ORDER BY id FOR UPDATE SKIP LOCKED)
    RETURNING id
""")

FREE = text("""
    UPDATE svm.step AS s SET claim_until = least(s.claim_until, now())
    FROM (SELECT id FROM svm.step WHERE state = 'running' AND claim_worker = ANY(:workers) ORDER BY id FOR UPDATE) AS u
    WHERE s.id = u.id
""")

_BACKING_OFF = text("""
    SELECT operation, extract(epoch FROM next_run_at - now()) AS seconds
    FROM svm.step WHERE state = 'held' AND next_run_at > now() ORDER BY next_run_at LIMIT :most
""")


def enter(connection: Connection, worker: int | None = None) -> int:
    """Take a worker's lock while this session lasts, and write the worker down; its number, a new one for None."""
    if worker is None:
        worker = int(connection.scalar(_NUMBER) or 0)
    connection.execute(_STAYS)
    connection.execute(_LOCKED, {"locks": LOCKS, "worker": worker})
    connection.execute(_ENTER, {"worker": worker})
    return worker


def leave(connection: Connection, worker: int) -> None:
    """This worker has no claims any more, and ends."""
    connection.execute(_LEAVE, {"worker": worker})


def present(connection: Connection) -> int:
    """How many workers there are now, of whatever version."""
    return int(connection.scalar(_PRESENT, {"locks": LOCKS}) or 0)


def absent(connection: Connection) -> list[int]:
    """Workers that are written down and whose lock nobody holds now. It reads no step, however many there are."""
    return list(connection.scalars(_ABSENT, {"locks": LOCKS}))


def release_claims(connection: Connection, workers: Sequence[int]) -> tuple[list[int], int]:
    """Let the claims of these workers lapse now; which of them were removed by this, and how many claims they had."""
    gone = list(connection.scalars(_REMOVE, {"workers": list(workers)}))
    return gone, connection.execute(FREE, {"workers": gone}).rowcount if gone else 0


def backing_off(connection: Connection, most: int) -> list[tuple[UUID, float]]:
    """Operations with steps whose next try comes later, each with the seconds until then; the soonest `most`."""
    return [(row.operation, float(row.seconds)) for row in connection.execute(_BACKING_OFF, {"most": most})]
