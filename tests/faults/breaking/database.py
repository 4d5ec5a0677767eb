"""PostgreSQL: killed in the middle of commits, slow, and a trigger that refuses what exact nodes' records insert."""

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql

from tests.faults.breaking.rhythm import again_and_again
from tests.faults.stack import DICE, Stack

_REFUSE = """
    CREATE OR REPLACE FUNCTION svm.refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'refused on purpose'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON svm.event FOR EACH ROW
        WHEN (NEW.type IN ('step', 'node') AND NEW.node IN ({nodes})) EXECUTE FUNCTION svm.refuse()
"""
_ALLOW = "DROP TRIGGER IF EXISTS refuse ON svm.event; DROP FUNCTION IF EXISTS svm.refuse()"
# Whoever changes steps saves the counters of their operations last.
_SLOW = """
    CREATE OR REPLACE FUNCTION svm.dawdle() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$;
    CREATE TRIGGER dawdle AFTER UPDATE ON svm.operation FOR EACH STATEMENT EXECUTE FUNCTION svm.dawdle()
"""
_FAST = "DROP TRIGGER IF EXISTS dawdle ON svm.operation; DROP FUNCTION IF EXISTS svm.dawdle()"


@contextmanager
def killed(stack: Stack) -> Iterator[None]:
    """kill -9 of the server; it starts again and recovers."""
    with again_and_again(lambda: stack.kill("database"), (2, 5)):
        yield


@contextmanager
def inserts_fail(stack: Stack) -> Iterator[None]:
    """The node has acted, and what it did cannot be recorded: for a fifth of the nodes the event's INSERT fails."""
    chosen = DICE.sample(stack.addresses, max(1, len(stack.addresses) // 5))
    refuse = sql.SQL(_REFUSE).format(nodes=sql.SQL(", ").join(sql.Literal(node) for node in chosen))
    with stack.connect() as database:
        database.execute(refuse)
    stack.counted.broken += len(chosen)
    try:
        yield
    finally:
        with stack.connect() as database:
            database.execute(_ALLOW)


@contextmanager
def slow(stack: Stack) -> Iterator[None]:
    """A record takes a fifth of a second to commit, so that many that wait meanwhile go into the next one together."""
    with stack.connect() as database:
        database.execute(_SLOW)
    stack.counted.broken += 1
    try:
        yield
    finally:
        with stack.connect() as database:
            database.execute(_FAST)
