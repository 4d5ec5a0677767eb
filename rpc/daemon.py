"""One way to be a daemon: its settings, its log, a refusal in one line, the line that says it is at work."""

import sys
from collections.abc import Callable
from typing import TypeVar

from rpc import logs
from rpc.settings import DaemonSettings
from trust.errors import Refusal

S = TypeVar("S", bound=DaemonSettings)


def start(role: str, settings: type[S], serve: Callable[[S], None]) -> None:
    """Load the settings, configure the log and serve until SIGTERM.

    A refusal (a setting, a token, plc away) is said in one line on stderr, and the exit status is 1.
    """
    try:
        told = settings.load()
        logs.configure(told.log_level, role)
        serve(told)
    except Refusal as refusal:
        sys.exit(f"{role}: {refusal.reason}")


def ready(*what: object) -> None:
    """Print `ready WHAT`, for whoever started this: a daemon's host and port, or its role."""
    sys.stdout.write(f"ready {':'.join(map(str, what))}\n")
    sys.stdout.flush()
