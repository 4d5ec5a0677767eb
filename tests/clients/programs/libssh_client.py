"""libssh, by ssh-python; as `tests/clients/programs` says."""

import os
import sys
from pathlib import Path
from typing import Any

from ssh import options
from ssh.key import import_privkey_file
from ssh.session import Session

BLOCK = 30_000
DIRECTORY = 2  # SSH_FILEXFER_TYPE_DIRECTORY


def send(channel: Any) -> None:
    for block in iter(lambda: os.read(0, BLOCK), b""):
        rest = block
        while rest:
            rest = rest[channel.write(rest)[1] :]
    channel.send_eof()


def receive(channel: Any, descriptor: int) -> None:
    size, data = channel.read(BLOCK, is_stderr=descriptor == 2)
    while size > 0:
        os.write(descriptor, data)
        size, data = channel.read(BLOCK, is_stderr=descriptor == 2)


def run(channel: Any, command: str) -> int:
    channel.open_session()
    channel.request_exec(command)
    send(channel)
    receive(channel, 1)
    receive(channel, 2)
    channel.close()
    return int(channel.get_exit_status())


def dial(channel: Any, host: str, port: str) -> int:
    channel.open_forward(host, int(port), "127.0.0.1", 0)
    send(channel)
    receive(channel, 1)
    return 0


def put(sftp: Any, here: Path, there: str) -> None:
    sftp.mkdir(there, 0o755)
    for each in here.iterdir():
        if each.is_dir():
            put(sftp, each, f"{there}/{each.name}")
            continue
        with sftp.open(f"{there}/{each.name}", os.O_CREAT | os.O_WRONLY, 0o644) as file, each.open("rb") as source:
            while block := source.read(BLOCK):
                file.write(block)


def get(sftp: Any, there: str, here: Path) -> None:
    here.mkdir()
    with sftp.opendir(there) as folder:
        found = [(os.fsdecode(each.name), each.type) for each in folder]
    for name, kind in found:
        if name in (".", ".."):
            continue
        if kind == DIRECTORY:
            get(sftp, f"{there}/{name}", here / name)
            continue
        with sftp.open(f"{there}/{name}", os.O_RDONLY, 0) as file:
            (here / name).write_bytes(b"".join(data for _size, data in file))


def main() -> int:
    host, port, user, key, known_hosts, verb, *words = sys.argv[1:]
    session = Session()
    session.options_set(options.HOST, host)
    session.options_set_port(int(port))
    session.options_set(options.USER, user)
    session.options_set(options.KNOWNHOSTS, known_hosts)
    session.connect()
    session.userauth_publickey(import_privkey_file(key))
    if verb in ("run", "dial"):
        channel = session.channel_new()
        return run(channel, *words) if verb == "run" else dial(channel, *words)
    sftp = session.sftp_new()
    sftp.init()
    put(sftp, Path(words[0]), words[1]) if verb == "put" else get(sftp, words[0], Path(words[1]))
    return 0


sys.exit(main())
