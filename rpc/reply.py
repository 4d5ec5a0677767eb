"""What a call gives back, and the words in which both clients say what went wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONNECT_TIMEOUT = 10  # seconds for TCP and TLS together
DEADLINE = 45  # seconds for a whole call (STACK: every step ends within 45 s)
MAX_BODY = 8 * 1024 * 1024  # bytes of an answer


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer (2xx, or 304). Header names are lower case; ``body`` is None when there is none."""

    status: int
    headers: Mapping[str, str]
    body: Any = None
