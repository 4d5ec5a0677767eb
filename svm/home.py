"""The user's `~/.planetlab`: key, certificate, pinned root, where plc and svmd are (docs/howto.md, "A certificate")."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rpc.credentials import CERTIFICATE, KEY, Credentials
from svm.checked import checked
from trust.clock import system_clock
from trust.errors import Code, Refusal

CONFIG = "config.toml"
SETTINGS = ("plc", "svmd", "ca_file", "ca_fingerprint")


@dataclass(frozen=True, slots=True)
class Home:
    """A key directory and its settings.

    Args:
        directory: $PLANETLAB_HOME, else ~/.planetlab.
        plc_url: $DSLICE_PLC_URL, else ``plc`` in config.toml there.
        svmd_url: $DSLICE_SVMD_URL, else ``svmd`` in config.toml; None: ask plc's directory.
        ca_file: $DSLICE_CA_FILE, else ``ca_file`` in config.toml: the root to trust.
        ca_fingerprint: $DSLICE_CA_FINGERPRINT, else ``ca_fingerprint``: SHA-256 of the root, hex, lower case.
    """

    directory: Path
    plc_url: str | None
    svmd_url: str | None = None
    ca_file: Path | None = None
    ca_fingerprint: str | None = None

    @classmethod
    def find(cls, directory: Path | None = None) -> Self:
        """From the environment and config.toml; opens nothing secret and makes nothing. `directory`: another one.

        Raises Refusal(BAD_INPUT) for a config.toml that cannot be read.
        """
        directory = directory or Path(os.environ.get("PLANETLAB_HOME") or "~/.planetlab")
        directory = directory.expanduser().absolute()
        written = _config(directory / CONFIG)
        found = {name: os.environ.get(f"DSLICE_{_variable(name)}") or written.get(name) for name in SETTINGS}
        ca_file = found["ca_file"]
        return cls(
            directory=directory,
            plc_url=found["plc"],
            svmd_url=found["svmd"],
            ca_file=Path(ca_file).expanduser() if ca_file else None,
            ca_fingerprint=_hex(found["ca_fingerprint"]),
        )

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.directory)

    def check(self) -> None:
        """Refuse a directory that others may read or that is a symlink, and a key that others may read.

        One that is not there passes. Raises Refusal(NOT_ALLOWED) with the command to type.
        """
        self._check(self.directory, folder=True)
        for key in sorted(self.directory.glob(f"*{KEY}")):
            self._check(key, folder=False)

    def require_plc(self) -> str:
        """plc's URL; Refusal(BAD_INPUT) that says how to set it."""
        if not self.plc_url:
            raise Refusal(
                Code.BAD_INPUT, f"where is plc? Set DSLICE_PLC_URL, or plc = 'https://HOST:PORT' in {self._config}"
            )
        return self.plc_url

    def require_certificate(self) -> Credentials:
        """Credentials that are there and not past their end, after `check`.

        Raises Refusal(NOT_AUTHENTICATED) that says what to type.
        """
        self.check()
        credentials = self.credentials
        if not (self.directory / CERTIFICATE).exists():
            raise Refusal(
                Code.NOT_AUTHENTICATED,
                f"no certificate in {self.directory}: run plkeygen, and plkeygen --refresh once it is approved",
            )
        try:
            end = checked(credentials).not_valid_after_utc
        except Refusal as refusal:
            why = refusal.reason.partition(";")[0]
            where = "" if str(self.directory) in why else f"{self.directory / CERTIFICATE}: "
            raise Refusal(Code.NOT_AUTHENTICATED, f"{where}{why}; get a new one with plkeygen") from None
        if end < system_clock().now():
            reason = f"your certificate ended at {end:%Y-%m-%d %H:%M} UTC: run plkeygen to ask for a new one"
            raise Refusal(Code.NOT_AUTHENTICATED, reason)
        return credentials

    @property
    def _config(self) -> Path:
        return self.directory / CONFIG

    def _check(self, path: Path, *, folder: bool) -> None:
        try:
            found = path.lstat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise Refusal(Code.NOT_ALLOWED, f"cannot look at {path}: {error.strerror}") from error
        kind, mode, fits = ("folder", 0o700, stat.S_ISDIR) if folder else ("file", 0o600, stat.S_ISREG)
        if not fits(found.st_mode):
            raise Refusal(Code.NOT_ALLOWED, f"{path} must be a {kind} of its own, not a link or anything else: move it")
        if found.st_uid != os.geteuid():
            raise Refusal(Code.NOT_ALLOWED, f"{path} belongs to another user: use a folder of your own")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise Refusal(Code.NOT_ALLOWED, f"others can get at {path}: chmod {mode:o} {path}")


def _config(path: Path) -> Mapping[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
        import tomllib

        written = tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise Refusal(Code.BAD_INPUT, f"cannot read {path}: {error}") from error
    return {name: value for name, value in written.items() if isinstance(value, str)}


def _variable(name: str) -> str:
    return f"{name}_url".upper() if name in ("plc", "svmd") else name.upper()


def _hex(fingerprint: str | None) -> str | None:
    """As `openssl x509 -fingerprint` prints it, or as we do."""
    return fingerprint.replace(":", "").strip().lower() if fingerprint else None
