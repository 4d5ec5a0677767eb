"""Prometheus metrics of a daemon: ``GET /metrics`` on a plain loopback port of its own."""

from rpc.server import Listener


def listener(address: str) -> Listener:
    """A listener for ``serve`` beside the daemon's own; ``address`` is "host:port" on loopback (DSLICE_METRICS_LISTEN).

    Raises Refusal(BAD_INPUT) for an address that is not loopback: metrics are served without a password.
    """
    raise NotImplementedError
