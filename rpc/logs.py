"""Logs of every daemon: on stderr, one JSON object a line or text for people; secrets left out."""

import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

HIDDEN = "(hidden)"
# Whatever is filed under such a name is hidden, at every depth; the public halves and fingerprints have other names.
SECRET_NAMES = re.compile(
    r"(token|ticket|lease|password|passwd|secret|private|key|delegation|authorization|cookie|pem)s?$", re.IGNORECASE
)
# What is recognised by its looks, wherever it stands: PEM private keys, JWS (tickets, leases, delegations), our tokens.
SECRET_LOOKS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"
    r"|\bdslice-(?:user|agent|node|svm|plc)-[\w.-]{20,}"
    r"|://[^/\s:@]*:[^/\s@]+@",
    re.DOTALL,
)


def configure(level: str = "INFO", role: str = "", form: str = "json") -> None:
    """Send structlog's and the standard library's records to stderr; ``role`` stands in each.

    ``form``: ``json``, an object a line, or ``text``, for people.

    Raises ValueError for a level that logging does not know.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _adds("role", role),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                _renderer(form),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def _renderer(form: str) -> Processor:
    if form == "text":
        return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"))
    return structlog.processors.JSONRenderer(default=str)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: hides secrets by the name they are filed under, and by their looks."""
    return {name: _clean(name, value) for name, value in event.items()}


def _clean(name: str, value: Any) -> Any:
    if SECRET_NAMES.search(name):
        return HIDDEN
    if isinstance(value, Mapping):
        return {str(key): _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("", inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return SECRET_LOOKS.sub(HIDDEN, value if isinstance(value, str) else str(value))


def _adds(name: str, value: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if value:
            event.setdefault(name, value)
        return event

    return add
