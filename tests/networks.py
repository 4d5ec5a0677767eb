"""Networks of testbeds that start again, beside others on the same machine."""

from collections.abc import Iterator
from contextlib import contextmanager

from testbed.addresses import NETWORKS, Claim


@contextmanager
def network() -> Iterator[int]:
    """One that stays free while its testbed is down: others take the first free one, whoever asks here the last."""
    held = Claim()
    try:
        yield next(number for number in reversed(NETWORKS) if held.take(f"network-{number}-of-a-test"))
    finally:
        held.release()
