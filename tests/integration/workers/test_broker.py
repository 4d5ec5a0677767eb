"""A channel whose connection was closed meanwhile: Celery expects an error of the connection, and passes over it."""

from collections.abc import Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError

from testbed.embedded import Valkey
from workers.broker import SteadyConnection


@pytest.mark.parametrize(
    "late",
    [lambda channel: channel.basic_ack("1"), lambda channel: channel.basic_recover(requeue=True)],
    ids=["acknowledged", "put back"],
)
def test_what_comes_after_the_connections_end(valkey: Valkey, late: Callable[[Any], None]) -> None:
    connection = SteadyConnection(valkey.url)
    channel = connection.channel()
    connection.release()
    with pytest.raises(ConnectionError, match="of this channel was closed"):
        late(channel)
