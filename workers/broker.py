"""What kombu and its Redis transport do when the broker goes away, and what they must do instead.

And one thing at all times: kombu makes a client for each command, which takes longer than the command. Here a channel
keeps one; its connections come from kombu's pool, so threads may share it.

A connection is tried again after 2, 4, 6 … 30 seconds, which no setting of Celery changes: after a long outage workers
and beat would come back half a minute late. Here it is tried every second.

kombu 5.7.0: a late acknowledgement, or putting messages back, on a channel whose connection was closed meanwhile ends
in an AttributeError. Celery expects connection errors there, which it passes over; anything else it calls
unrecoverable and ends the worker. Seen whenever Valkey restarts while messages are at work. What is not acknowledged
comes again, which is harmless; what is not put back the sweep repeats.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from kombu import Connection
from kombu.exceptions import KombuError
from kombu.transport import redis
from redis.exceptions import ConnectionError, RedisError

ASKED_SECONDS = 2
_EVERY_SECOND = {"interval_start": 1, "interval_step": 0, "interval_max": 1}


class Channel(redis.Channel):
    """A channel that keeps its client, and says so when its connection was closed."""

    _kept: Any = None

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """As kombu's, with the client that is kept."""
        if client is None:
            pool = self.pool
            if self._kept is None or self._kept.connection_pool is not pool:
                with super().conn_or_acquire() as made:
                    self._kept = made
            client = self._kept
        yield client

    @property
    def pool(self) -> Any:
        """As kombu's."""
        self._require_connection()
        return super().pool

    @property
    def async_pool(self) -> Any:
        """As kombu's."""
        self._require_connection()
        return super().async_pool

    def _require_connection(self) -> None:
        if self.connection is None or self.connection.client is None:
            raise ConnectionError("the connection of this channel was closed")


class Transport(redis.Transport):
    """Makes such channels."""

    Channel = Channel


class SteadyConnection(Connection):
    """A connection to the broker that is tried again every second, as often as its caller wants."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """As kombu's, but for the pace."""
        return super().ensure_connection(*args, **{**_EVERY_SECOND, **kwargs})

    def get_transport_cls(self) -> type[Transport]:
        """The only one that this app uses."""
        return Transport


class Broker(AMQP):
    """Where Celery takes its connections from (`Celery(amqp=Broker)`), workers and beat alike."""

    Connection = SteadyConnection


def trouble(app: Celery) -> str | None:
    """For `/healthz`: what is wrong with the broker; None if it answers a connection of its own."""
    options = {**app.conf.broker_transport_options, "socket_timeout": ASKED_SECONDS}
    try:
        with app.connection_for_read(transport_options=options, connect_timeout=ASKED_SECONDS) as connection:
            connection.connect()
    except (KombuError, RedisError, OSError):
        return "the broker does not answer"
    return None
