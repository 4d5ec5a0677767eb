"""The one shared idea: claim, skip what is done, act, record.

```
message  one kind of step and the ids of 1 to 64 steps; nothing else travels
claim    committed before any request goes out; an id that does not come back is someone else's or done
act      per step, side by side on the process's one loop, each under its own deadline
record   by the writer, many steps in one transaction; what became due is published after its commit
go on    with what follows at the same node, which the record has claimed for this worker
fail     the message, after all that, when a step has failed for good: for Flower, which counts messages
```

Each id is claimed, done and recorded by itself: one that fails or hangs never touches its neighbours, and a message
that comes twice repeats nothing that is recorded.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from uuid import UUID

from celery import current_task
from sqlalchemy.exc import SQLAlchemyError
from structlog.contextvars import bound_contextvars

from lifecycle.outcome import Claim, Done, Failed, Record, claim
from models.states import Kind, Queue
from rpc.tracing import request_of
from tasks.context import WorkerContext, worker_context
from tasks.metrics import RUNNING_SECONDS, STEP_SECONDS, STEPS
from tasks.retry import again_in
from trust.errors import Code, Refusal, printable

log = logging.getLogger(__name__)

Act = Callable[[Claim, WorkerContext], Awaitable[Done]]

ACTS: dict[Kind, Act] = {}
"""What is done for each kind of step, for what follows without a message; filled as the tasks are imported."""
MOST_STARTS = 50  # a step that takes its worker down with it is given up after so many
ONCE = (Kind.RECONCILE, Kind.CANARY)  # beat asks again soon anyway
WAKE_SLACK = 0.05  # seconds after a delay's end by this machine's clock; the database's decides


class StepsFailedError(Exception):
    """How a message ends of which a step has failed for good, as is recorded. Nothing comes of it but a word."""


def perform(ids: Sequence[int], act: Act) -> None:
    """Do these steps; returns when each is recorded, or left for another try.

    Raises StepsFailedError in a worker, when one is recorded as failed.
    """
    context = worker_context()
    context.heard = time.monotonic()
    failed = list[str]()
    if _in_background():
        context.background.run(partial(_perform, ids, act, context, failed))
    else:
        _perform(ids, act, context, failed)
    if failed and current_task and not current_task.request.called_directly:
        raise StepsFailedError(", ".join(failed))


def _perform(ids: Sequence[int], act: Act, context: WorkerContext, failed: list[str]) -> None:
    try:
        with context.database.begin() as connection:
            claims = claim(connection, ids, seconds=context.policy.lasting, worker=context.worker)
    except SQLAlchemyError as error:
        # Nothing was claimed, and the messages are gone: these steps are published again once the database is back.
        context.missed.set()
        log.warning("no claim on steps %s: %s", list(ids), type(error).__name__)
        return
    if claims:
        failed += context.run(_side_by_side(claims, act, context))


def act_of(kind: Kind) -> Callable[[Act], Act]:
    """This is what such a step does: a worker may go on with it from the step before it."""

    def filed(act: Act) -> Act:
        ACTS[kind] = act
        return act

    return filed


async def _side_by_side(claims: Sequence[Claim], act: Act, context: WorkerContext) -> list[str]:
    ended = await asyncio.gather(*(_node(claim, act, context) for claim in claims))
    return [failed for failed in ended if failed]


async def _node(claim: Claim, act: Act, context: WorkerContext) -> str | None:
    """One step, and those that follow it at its node one after another; which failed, if one did."""
    step: Claim | None = claim
    while step is not None:
        outcome, following = await _one(step, act if step is claim else ACTS[step.kind], context)
        if outcome == "failed":
            return " ".join(filter(None, (step.kind, step.node)))
        step = following
    return None


async def _one(claim: Claim, act: Act, context: WorkerContext) -> tuple[str, Claim | None]:
    """One step; what became of it, and the claim to go on with."""
    with bound_contextvars(**_about(claim)):
        began = time.monotonic()
        context.writer.expect()
        result = await _attempt(claim, act, context)
        outcome, following = await _write_down(claim, result, context)
        took = time.monotonic() - began
        _tell(outcome, took, result)
    STEPS.labels(claim.kind, outcome).inc()
    STEP_SECONDS.labels(claim.kind).observe(took)
    if outcome == "done" and claim.kind is Kind.NEWVMS:
        RUNNING_SECONDS.observe(claim.asked + took)
    return outcome, following


def _about(claim: Claim) -> dict[str, object]:
    """What each line of a step's log names."""
    ids = {"operation": str(claim.operation), "step": claim.id, "kind": claim.kind, "node": claim.node}
    return {**ids, "slice": claim.slice.name if claim.slice else None, **request_of(claim.request)}


def _tell(outcome: str, took: float, result: Done | Failed) -> None:
    if isinstance(result, Done):
        log.info("step %s in %.3f s", outcome, took)
        return
    level = logging.WARNING if outcome == "failed" else logging.INFO
    log.log(level, "step %s in %.3f s: %s", outcome, took, result.reason, extra={"code": str(result.code)})


async def _write_down(claim: Claim, result: Done | Failed, context: WorkerContext) -> tuple[str, Claim | None]:
    """Record it; what became of the step (done, failed, again or lost), and the claim to go on with."""
    try:
        written = await asyncio.wrap_future(context.writer.submit(Record(claim, result, context.hold)))
    except Exception as error:  # noqa: BLE001 - the claim lapses and the step is done again
        log.error("step is not recorded: %s", type(error).__name__)
        return "lost", None
    if not written.ours:
        log.warning("step was no longer ours")
        return "lost", None
    if isinstance(result, Done):
        return "done", written.following
    if result.again_in is None:
        return "failed", None
    wake_later(context, claim.operation, result.again_in)
    return "again", None


def wake_later(context: WorkerContext, operation: UUID, seconds: float) -> None:
    """Refill this operation's window then; on the loop. Its steps are held in PostgreSQL meanwhile: when this process
    stops, another wakes them."""
    context.loop.call_later(seconds + WAKE_SLACK, context.writer.wake, operation)


async def _attempt(claim: Claim, act: Act, context: WorkerContext) -> Done | Failed:
    try:
        if claim.attempts > MOST_STARTS:
            raise Refusal(Code.INTERNAL, f"given up after {MOST_STARTS} starts: ask the operator to look into the logs")
        async with asyncio.timeout(context.policy.step):
            return await act(claim, context)
    except Refusal as refusal:
        return _failed(claim, context, refusal.code, refusal.reason)
    except TimeoutError:
        return _failed(claim, context, Code.TIMEOUT, f"no answer within {context.policy.step} s: try again")
    except Exception:
        log.exception("step failed unexpectedly")
        return _failed(
            claim, context, Code.INTERNAL, "the service manager failed: its operator finds the cause in the logs"
        )


def _failed(claim: Claim, context: WorkerContext, code: Code, reason: str) -> Failed:
    patience = context.policy.background if claim.options.get("by_itself") else context.policy.patience
    delay = again_in(
        code,
        tries=claim.tries,
        age=claim.age,
        connect_timeout=claim.connect_timeout,
        patience=patience,
        draw=random.random,
    )
    if claim.attempts > MOST_STARTS or claim.kind in ONCE:
        delay = None
    return Failed(code, printable(reason), delay)


def _in_background() -> bool:
    info = current_task.request.delivery_info if current_task else None
    return info is not None and info.get("routing_key") != Queue.INTERACTIVE
