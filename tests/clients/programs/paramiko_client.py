"""paramiko's client; as `tests/clients/programs` says."""

import os
import stat
import sys
import threading
from pathlib import Path

import paramiko


def run(client: paramiko.SSHClient, command: str) -> int:
    transport = client.get_transport()
    assert transport is not None
    channel = transport.open_session()
    channel.exec_command(command)
    threading.Thread(target=feed, args=(channel,), daemon=True).start()
    errors = threading.Thread(target=lambda: sys.stderr.buffer.writelines(channel.makefile_stderr("rb")))
    errors.start()
    for block in iter(lambda: channel.recv(65536), b""):
        sys.stdout.buffer.write(block)
    errors.join()
    return channel.recv_exit_status()


def feed(channel: paramiko.Channel) -> None:
    for block in iter(lambda: os.read(0, 65536), b""):
        channel.sendall(block)
    channel.shutdown_write()


def put(sftp: paramiko.SFTPClient, here: Path, there: str) -> None:
    sftp.mkdir(there)
    for each in here.iterdir():
        if each.is_dir():
            put(sftp, each, f"{there}/{each.name}")
        else:
            sftp.put(str(each), f"{there}/{each.name}")


def get(sftp: paramiko.SFTPClient, there: str, here: Path) -> None:
    here.mkdir()
    for each in sftp.listdir_attr(there):
        if stat.S_ISDIR(each.st_mode or 0):
            get(sftp, f"{there}/{each.filename}", here / each.filename)
        else:
            sftp.get(f"{there}/{each.filename}", str(here / each.filename))


def dial(client: paramiko.SSHClient, host: str, port: str) -> int:
    transport = client.get_transport()
    assert transport is not None
    channel = transport.open_channel("direct-tcpip", (host, int(port)), ("127.0.0.1", 0))
    threading.Thread(target=feed, args=(channel,), daemon=True).start()
    for block in iter(lambda: channel.recv(65536), b""):
        sys.stdout.buffer.write(block)
    return 0


def main() -> int:
    host, port, user, key, known_hosts, verb, *words = sys.argv[1:]
    with paramiko.SSHClient() as client:
        client.load_host_keys(known_hosts)
        client.connect(host, int(port), user, key_filename=key, allow_agent=False, look_for_keys=False)
        if verb == "run":
            return run(client, *words)
        if verb == "dial":
            return dial(client, *words)
        with client.open_sftp() as sftp:
            put(sftp, Path(words[0]), words[1]) if verb == "put" else get(sftp, words[0], Path(words[1]))
    return 0


sys.exit(main())
