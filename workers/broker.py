"""What kombu and its Redis transport do when the broker goes away, and what they must do instead.

A connection is tried again after 2, 4, 6 … 30 seconds, which no setting of Celery changes: after a long outage workers
and beat would come back half a minute late. Here it is tried every second.

kombu 5.7.0: a late acknowledgement, or putting messages back, on a channel whose connection was closed meanwhile ends
in an AttributeError. Celery expects connection errors there, which it passes over; anything else it calls
unrecoverable and ends the worker. Seen whenever Valkey restarts while messages are at work. What is not acknowledged
comes again, which is harmless; what is not put back the sweep repeats.
"""

from typing import Any

from celery.app.amqp import AMQP
from kombu import Connection
from kombu.transport import redis as transport
from redis.exceptions import ConnectionError as Gone

_EVERY_SECOND = {"interval_start": 1, "interval_step": 0, "interval_max": 1}
_parameters: Any = vars(transport.Channel)["_connparams"]


def survive_lost_connections() -> None:
    """From now on a channel without a connection says so."""
    setattr(transport.Channel, "_connparams", _parameters_or_gone)  # noqa: B010


def _parameters_or_gone(self: Any, asynchronous: bool = False) -> Any:
    if self.connection is None or self.connection.client is None:
        raise Gone("the connection of this channel was closed")
    return _parameters(self, asynchronous)


class SteadyConnection(Connection):
    """A connection to the broker that is tried again every second, as often as its caller wants."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """As kombu's, but for the pace."""
        return super().ensure_connection(*args, **{**_EVERY_SECOND, **kwargs})


class Broker(AMQP):
    """Where Celery takes its connections from (`Celery(amqp=Broker)`), workers and beat alike."""

    Connection = SteadyConnection
