"""From committed steps to messages. A message is only a hint: whatever is lost here, the sweep publishes again."""

from collections.abc import Iterable

from models.operations import StepRef


def publish(refs: Iterable[StepRef]) -> int:
    """Send wake-up messages for committed steps; returns how many were sent. Never raises.

    The process must have imported `workers.app` (it makes the app the default one). Repeating it is harmless.
    Blocks for at most a few seconds when the broker is gone; call it after the answer to the user is on its way.
    """
    raise NotImplementedError
