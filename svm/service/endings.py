"""svmd's log says how each operation ended, whichever process recorded its last step.

It is read from the table now and then, so that no worker's death leaves an end out. An operation's end is the time of
the transaction that wrote it, which others see only after its commit: each look goes back a minute, and what was told
already is passed over.
"""

import asyncio
import logging
from uuid import UUID

from sqlalchemy import Engine

from lifecycle.operations import Operation, ended_within

LOOK_SECONDS = 2
BACK_SECONDS = 60  # longer than any transaction waits for its locks and its commit

log = logging.getLogger(__name__)


class Endings:
    """Tells each ending once; what had ended before the first look is not told."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._told: set[UUID] | None = None

    async def look(self) -> None:
        """One round."""
        await asyncio.to_thread(self.tell)

    def tell(self) -> None:
        """Log what has ended since the last round."""
        with self._engine.connect() as connection:
            ended = ended_within(connection, BACK_SECONDS)
        for operation in ended:
            if self._told is not None and operation.id not in self._told:
                _tell(operation)
        self._told = {operation.id for operation in ended}


def _tell(ended: Operation) -> None:
    level = logging.WARNING if ended.failed or ended.code else logging.INFO
    by = ended.owner.name if ended.actor == "user" else ended.actor
    ids = {"operation": str(ended.id), "verb": str(ended.verb), "slice": ended.slice or None, "by": by}
    why = {"code": ended.code, "reason": ended.reason} if ended.code else {}
    counts = {"ok": ended.ok, "failed": ended.failed}
    log.log(level, "operation ended: %s", ended.outcome, extra={**ids, **counts, **why})
