"""Logs of every daemon: one JSON object a line on stderr, secrets left out."""


def configure(level: str = "INFO", role: str = "") -> None:
    """Send structlog's and the standard library's records to stderr as JSON lines; ``role`` stands in each."""
    raise NotImplementedError
