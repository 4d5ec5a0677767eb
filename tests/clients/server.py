"""A real sshd inside a sliver, which root there makes; the account, its files and its rights are those that the front
door leads to. The login's own shell takes these commands."""

from __future__ import annotations

import shlex

CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey /etc/ssh/bench_key
AuthorizedKeysFile /etc/ssh/bench_keys
UsePAM no
PidFile none
MaxStartups 100
MaxSessions 100
AcceptEnv LANG LC_* COLORTERM TERM GIT_PROTOCOL
Subsystem sftp internal-sftp
"""
_PREPARE = """\
set -e
mkdir -p /run/sshd
getent passwd sshd >/dev/null || useradd --system --no-create-home --home-dir /run/sshd --shell /usr/sbin/nologin sshd
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/bench_key
echo {keys} >/etc/ssh/bench_keys
cat >/etc/ssh/bench_config
"""


def prepare(keys: str) -> str:
    """Its files, for whoever has one of these public keys. CONFIG is to come on standard input."""
    return f"sudo sh -c {shlex.quote(_PREPARE.format(keys=shlex.quote(keys.strip())))}"


def start(program: str) -> str:
    """It stays in the foreground, and says on standard error that it listens."""
    return f"exec sudo {program} -D -e -f /etc/ssh/bench_config"
