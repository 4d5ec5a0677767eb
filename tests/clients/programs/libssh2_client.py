"""libssh2, by ssh2-python; as `tests/clients/programs` says."""

import base64
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

from ssh2.session import Session
from ssh2.sftp import LIBSSH2_FXF_CREAT, LIBSSH2_FXF_READ, LIBSSH2_FXF_WRITE

BLOCK = 30_000


def send(channel: Any) -> None:
    for block in iter(lambda: os.read(0, BLOCK), b""):
        rest = block
        while rest:
            rest = rest[channel.write(rest)[1] :]
    channel.send_eof()


def receive(read: Any, descriptor: int) -> None:
    size, data = read(BLOCK)
    while size > 0:
        os.write(descriptor, data)
        size, data = read(BLOCK)


def run(session: Any, command: str) -> int:
    channel = session.open_session()
    channel.execute(command)
    send(channel)
    receive(channel.read, 1)
    receive(channel.read_stderr, 2)
    channel.wait_eof()
    channel.close()
    channel.wait_closed()
    return int(channel.get_exit_status())


def put(sftp: Any, here: Path, there: str) -> None:
    sftp.mkdir(there, 0o755)
    for each in here.iterdir():
        if each.is_dir():
            put(sftp, each, f"{there}/{each.name}")
            continue
        file = sftp.open(f"{there}/{each.name}", LIBSSH2_FXF_CREAT | LIBSSH2_FXF_WRITE, 0o644)
        with file, each.open("rb") as source:
            while block := source.read(BLOCK):
                file.write(block)


def get(sftp: Any, there: str, here: Path) -> None:
    here.mkdir()
    with sftp.opendir(there) as folder:
        found = [(os.fsdecode(name), attributes) for _size, name, attributes in folder.readdir()]
    for name, attributes in found:
        if name in (".", ".."):
            continue
        if stat.S_ISDIR(attributes.permissions):
            get(sftp, f"{there}/{name}", here / name)
            continue
        with sftp.open(f"{there}/{name}", LIBSSH2_FXF_READ, 0) as file:
            (here / name).write_bytes(b"".join(data for _size, data in file))


def dial(session: Any, host: str, port: str) -> int:
    channel = session.direct_tcpip_ex(host, int(port), "127.0.0.1", 0)
    send(channel)
    receive(channel.read, 1)
    return 0


def main() -> int:
    host, port, user, key, known_hosts, verb, *words = sys.argv[1:]
    session = Session()
    session.handshake(socket.create_connection((host, int(port))))
    assert base64.b64encode(session.hostkey()[0]).decode() in Path(known_hosts).read_text()
    session.userauth_publickey_fromfile(user, key, "", f"{key}.pub")
    if verb in ("run", "dial"):
        return run(session, *words) if verb == "run" else dial(session, *words)
    sftp = session.sftp_init()
    put(sftp, Path(words[0]), words[1]) if verb == "put" else get(sftp, words[0], Path(words[1]))
    return 0


sys.exit(main())
