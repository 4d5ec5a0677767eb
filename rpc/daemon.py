"""One way to be a daemon: its settings, its log, a refusal in one line, the line that says it is at work."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from rpc import logs
from rpc.settings import DaemonSettings
from rpc.sockets import CannotListen
from trust.errors import Code, Refusal

S = TypeVar("S", bound=DaemonSettings)


log = logging.getLogger(__name__)


def start(role: str, settings: type[S], serve: Callable[[S], None], needs: Sequence[str] = ()) -> None:
    """Load the settings, configure the log and serve until SIGTERM.

    A refusal (a setting, a token, plc away), an address or a file that cannot be used is said in one line on stderr,
    and the exit status is 1.

    Args:
        needs: fields of the settings that this role needs although they have a default.
    """
    told = None
    try:
        told = settings.load(needs)
        logs.configure(told.log_level, role, told.log_format)
        _require_private(getattr(told, "state_dir", None))
        serve(told)
    except Refusal as refusal:
        sys.exit(f"{role}: {refusal.reason}")
    except CannotListen as error:
        sys.exit(f"{role}: {error.strerror}")
    except OSError as error:
        if error.filename is None:
            raise
        log.debug("ended by a file", exc_info=True)
        variable = told and told.variable_of(str(error.filename))
        cure = f"; correct {variable} or its rights" if variable else ""
        sys.exit(f"{role}: cannot use {error.filename}: {error.strerror}{cure}")


def _require_private(folder: Path | None) -> None:
    """Refusal(BAD_INPUT) for a folder in which others may put a key or a certificate."""
    if folder is not None and folder.is_dir() and (mode := folder.stat().st_mode & 0o777) & 0o022:
        raise Refusal(
            Code.BAD_INPUT,
            f"others may write to DSLICE_STATE_DIR, {folder} (mode {mode:o}): chmod 700 {folder}",
        )


def ready(*what: object) -> None:
    """Print `ready WHAT`, for whoever started this: a daemon's host and port, or its role."""
    sys.stdout.write(f"ready {':'.join(map(str, what))}\n")
    sys.stdout.flush()
