"""The node's SSH host key: made once, kept, pinned by everybody else."""

from __future__ import annotations

import logging
from pathlib import Path

import paramiko

from rpc.files import replace_file
from trust.sshkeys import new_ssh_key_pair

log = logging.getLogger(__name__)


def open_host_key(path: Path) -> paramiko.Ed25519Key:
    """The Ed25519 host key in `path` (OpenSSH format, 0600), made there if there is none yet, or a damaged one.

    Who logs in learns of another key as of the first: from the node's advertisement.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return paramiko.Ed25519Key.from_private_key_file(str(path))
    except FileNotFoundError:
        pass
    except (paramiko.SSHException, ValueError, IndexError):
        log.error("the host key %s is damaged; the front door has another one from now on", path)
        path.replace(path.with_name(f"{path.name}.damaged"))
    private, _public = new_ssh_key_pair("front door")
    replace_file(path, private.encode())
    return paramiko.Ed25519Key.from_private_key_file(str(path))


def host_key_line(key: paramiko.PKey) -> str:
    """`ssh-ed25519 AAAA…`, as in known_hosts without the names."""
    return f"{key.get_name()} {key.get_base64()}"
