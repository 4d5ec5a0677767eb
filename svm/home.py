"""The user's `~/.planetlab`: key, certificate, pinned root, and where plc and svmd answer (howto, "plkeygen")."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rpc.credentials import Credentials


@dataclass(frozen=True, slots=True)
class Home:
    """A key directory and its settings.

    Args:
        directory: $PLANETLAB_HOME, else ~/.planetlab.
        plc_url: $DSLICE_PLC_URL, else ``plc`` in config.toml there.
        svmd_url: ``svmd`` in config.toml ($DSLICE_SVMD_URL first); None: ask plc's directory.
        ca_file: $DSLICE_CA_FILE, else ``ca_file`` in config.toml: the root to trust.
        ca_fingerprint: $DSLICE_CA_FINGERPRINT, else ``ca_fingerprint``: SHA-256 of the root, hex, lower case.
    """

    directory: Path
    plc_url: str | None
    svmd_url: str | None = None
    ca_file: Path | None = None
    ca_fingerprint: str | None = None

    @classmethod
    def find(cls) -> Self:
        """From the environment and config.toml; opens nothing secret and makes nothing."""
        raise NotImplementedError

    @property
    def credentials(self) -> Credentials:
        raise NotImplementedError

    def check(self) -> None:
        """Refuse a directory that others may read or that is a symlink, and a key that others may read.

        Raises Refusal(NOT_ALLOWED) with the chmod command to type.
        """
        raise NotImplementedError

    def require_plc(self) -> str:
        """plc's URL; Refusal(BAD_INPUT) that says how to set it."""
        raise NotImplementedError

    def require_certificate(self) -> Credentials:
        """Credentials that are there and not past their end, after `check`; Refusal(NOT_AUTHENTICATED) says what to type."""
        raise NotImplementedError
