"""A worker that is killed after a webhook went out and before that is written down: it goes out again, as it was."""

from lifecycle import hooks
from lifecycle.outbox import post
from models.states import HookState
from rpc.credentials import Credentials
from tests.integration.agent.lab import slice_name
from tests.integration.receiver import Call, receiving
from tests.integration.tasks.farm import until
from tests.integration.workers.crew import KILL, Crew

OPEN = {"DSLICE_HOOKS_ALLOW": "127.0.0.0/8"}


def test_a_worker_that_is_killed_between_sending_and_writing_down(crew: Crew, owner: Credentials) -> None:
    name = slice_name()
    crew.tickets(name, owner)
    with receiving() as receiver:
        (row,) = crew.farm.rows("SELECT id FROM svm.slice WHERE name = :n", n=name)
        with crew.farm.database.begin() as connection:
            seal = crew.farm.process.worker_context.seal
            secret = hooks.put(connection, row.id, receiver.url, (HookState.FAILED,), seal)
            post(connection, row.id, HookState.FAILED, {"reason": "a test"})
        victim = crew.daemon("worker", **OPEN)

        def kill(_: Call) -> int:
            """It has sent all of it, and will hear no answer."""
            victim.signal(KILL)
            return 204

        receiver.answer = kill
        crew.app.send_task("deliver", queue="housekeeping")
        until(lambda: len(receiver.calls) == 1)
        assert victim.ended() == -KILL
        taken = "SELECT attempts, sent_at, next_try_at > now() AS held FROM svm.delivery"
        assert [tuple(found) for found in crew.farm.rows(taken)] == [(1, None, True)]
        receiver.answer = lambda _: 204
        crew.daemon("worker", **OPEN)
        crew.farm.execute("UPDATE svm.delivery SET next_try_at = now()")  # its claim has lapsed
        crew.app.send_task("deliver", queue="housekeeping")
        until(lambda: crew.farm.rows("SELECT 1 FROM svm.delivery WHERE sent_at IS NOT NULL"))
        first, second = receiver.calls
    assert (first.id, first.body) == (second.id, second.body)
    assert first.is_signed_with(secret)
    assert second.is_signed_with(secret)
