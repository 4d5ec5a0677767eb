"""The key of the certificate authority: one file in plc's state folder, and never in the database."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from rpc.files import replace_file
from trust.certificates import Authority
from trust.errors import Code, Refusal

AUTHORITY = "authority.pem"


def load_authority(state_dir: Path, now: datetime, *, first: bool) -> Authority:
    """The CA in the state folder, made at the very ``first`` start (0600, complete or not at all).

    Raises Refusal when the file is gone later: a new CA would be trusted by nobody.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = state_dir / AUTHORITY
    with _locked(state_dir):
        if path.exists():
            return Authority.from_pem(path.read_bytes())
        if not first:
            raise Refusal(Code.INTERNAL, f"{path} is gone, but the database has its certificates: restore the file")
        authority = Authority.create(now)
        replace_file(path, authority.to_pem().encode())
        return authority


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
