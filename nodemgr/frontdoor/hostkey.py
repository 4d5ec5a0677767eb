"""The node's SSH host key: made once, kept, pinned by everybody else."""

from __future__ import annotations

from pathlib import Path

import paramiko

from rpc.files import replace_file
from trust.sshkeys import new_ssh_key_pair


def open_host_key(path: Path) -> paramiko.Ed25519Key:
    """The Ed25519 host key in `path` (OpenSSH format, 0600), made there if there is none yet."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        private, _public = new_ssh_key_pair("front door")
        replace_file(path, private.encode())
    return paramiko.Ed25519Key.from_private_key_file(str(path))


def host_key_line(key: paramiko.PKey) -> str:
    """`ssh-ed25519 AAAA…`, as in known_hosts without the names."""
    return f"{key.get_name()} {key.get_base64()}"
