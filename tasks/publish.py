"""From committed steps to messages. A message is only a hint: whatever is lost here, the sweep publishes again."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from queue import Empty, SimpleQueue
from uuid import UUID

from celery import Celery, current_app
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from lifecycle.steps import StepRef
from models.states import Kind, Queue
from rpc.background import thread

log = logging.getLogger(__name__)

BATCH = 500  # Redis commands a flush (kombu's Producer.batch)
ATTEMPTS = 2  # a kept connection may have died with its broker; a second failure means that the broker is away

Message = tuple[Kind, Queue, list[StepRef]]


def publish(refs: Iterable[StepRef]) -> int:
    """Send wake-up messages for committed steps; returns how many were sent. Never raises.

    The process must have imported `workers.app` (it makes the app the default one). Repeating it is harmless.
    Blocks for at most a few seconds when the broker is gone; call it after the answer to the user is on its way.
    """
    messages = list(grouped(refs))
    for attempt in range(1, ATTEMPTS + 1) if messages else ():
        try:
            return _send(current_app, messages)
        except (KombuError, RedisError, OSError) as error:
            if attempt == ATTEMPTS:
                log.warning("%d messages not sent, the sweep will: %s", len(messages), type(error).__name__)
        except Exception:
            log.exception("%d messages not sent, the sweep will", len(messages))
            break
    return 0


def grouped(refs: Iterable[StepRef]) -> Iterator[Message]:
    """Steps of one kind and queue share messages, as many ids in each as their operations allow."""
    alike: dict[tuple[Kind, Queue, int], list[StepRef]] = defaultdict(list)
    for ref in refs:
        alike[ref.kind, ref.queue, ref.batch].append(ref)
    for (kind, queue, size), found in alike.items():
        for start in range(0, len(found), size):
            yield kind, queue, found[start : start + size]


def shown(refs: Iterable[StepRef]) -> str:
    """What Flower shows of a message, in the place of its ids: slice, nodes and operation, and for each if several."""
    alike: dict[tuple[str, UUID | None], list[str]] = defaultdict(list)
    for ref in refs:
        alike[ref.slice, ref.operation].append(ref.node or "")
    return "; ".join(
        " ".join(filter(None, (slice, *nodes, f"operation {operation}"))) for (slice, operation), nodes in alike.items()
    )


def _send(app: Celery, messages: list[Message]) -> int:
    with app.producer_pool.acquire(block=True) as producer, producer.batch(max_size=BATCH):  # type: ignore[attr-defined]
        for kind, queue, refs in messages:
            ids = [ref.id for ref in refs]
            app.send_task(
                kind, args=[ids], argsrepr=shown(refs), queue=queue, producer=producer, ignore_result=True, retry=False
            )
    return len(messages)


class Publisher:
    """A thread that publishes, so that a broker that is away holds up no commit."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[list[StepRef] | None] = SimpleQueue()
        self._thread = thread(self._run, "publisher")

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def put(self, refs: list[StepRef]) -> None:
        """Publish these soon."""
        if refs:
            self._queue.put(refs)

    def stop(self) -> None:
        """Publish what is waiting, then end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        more = True
        while more:
            found = [self._queue.get()]
            while found[-1] is not None:
                try:
                    found.append(self._queue.get_nowait())
                except Empty:
                    break
            more = found[-1] is not None
            publish(ref for refs in found if refs is not None for ref in refs)
