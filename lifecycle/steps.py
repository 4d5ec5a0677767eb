"""Steps as others name them: what to publish, and what to add."""

from dataclasses import dataclass
from uuid import UUID

from models.states import Kind, Queue


@dataclass(frozen=True, slots=True)
class StepRef:
    """A step to publish. `batch` = how many ids of this operation may share one message.

    `slice` (its name), `node` and `operation` are for people who look at the queue; no worker reads them.
    """

    kind: Kind
    id: int
    queue: Queue
    batch: int = 1
    slice: str = ""
    node: str | None = None
    operation: UUID | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """For how long, and by which worker, a step is claimed that follows at once (`lifecycle/onward.py`)."""

    seconds: int
    worker: int | None = None


@dataclass(frozen=True, slots=True)
class NewStep:
    """A step to add to an operation. `released`: it takes over a slot; else it waits for the window.

    `slice`: an earlier one of that name, where it is not the operation's.
    """

    operation: UUID
    kind: Kind
    node: str | None = None
    released: bool = False
    slice: UUID | None = None
