"""What kombu's Redis transport does to a worker when the broker goes away, and what it must do instead.

kombu 5.7.0: a late acknowledgement, or putting messages back, on a channel whose connection was closed meanwhile ends
in an AttributeError. Celery expects connection errors there, which it passes over; anything else it calls
unrecoverable and ends the worker. Seen whenever Valkey restarts while messages are at work. What is not acknowledged
comes again, which is harmless; what is not put back the sweep repeats.
"""

from typing import Any

from kombu.transport import redis as transport
from redis.exceptions import ConnectionError as Gone

_parameters: Any = vars(transport.Channel)["_connparams"]


def survive_lost_connections() -> None:
    """From now on a channel without a connection says so."""
    setattr(transport.Channel, "_connparams", _parameters_or_gone)  # noqa: B010


def _parameters_or_gone(self: Any, asynchronous: bool = False) -> Any:
    if self.connection is None or self.connection.client is None:
        raise Gone("the connection of this channel was closed")
    return _parameters(self, asynchronous)
