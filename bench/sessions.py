"""The front door: logins one by one, fifty at once, bytes and files each way; beside sshd on the same machine = 1.0.

Without an sshd (Debian: openssh-server) there is no second column. It listens on loopback with a key and a
configuration of its own, and runs the commands outside of any sliver.
"""

import getpass
import os
import shlex
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.tools.login import logged_in, prepared
from bench.tools.stage import testbed
from bench.tools.tables import Cell, Table

ROUNDS, AT_ONCE = 7, 50
MIB = 200  # sent each way
FILES, BYTES = 10_000, 500  # copied each way, and how large each is
FILE_ROUNDS = 3
ZEROS = f"head -c {MIB << 20} /dev/zero"
HEAD = ("", "dslice", "sshd", "ratio")
PRIVATE = 0o755  # sshd wants the folder where it leaves its privileges to be root's
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def main() -> Sequence[Table]:
    with tempfile.TemporaryDirectory() as folder, testbed(folder, "--nodes", "1") as stage, ExitStack() as stack:
        servers = [prepared(stage, "sessions")]
        if Path(SSHD).exists():
            key = Path(servers[0][servers[0].index("-i") + 1])
            servers.append(stack.enter_context(sshd(Path(folder), key)))
        rows = [row(name, measure, servers, ROUNDS) for name, measure in MEASURES.items()]
        rows += copied(Path(folder) / "files", servers)
    return [
        Table("sessions", f"The front door by OpenSSH's client, medians of {ROUNDS}, files {FILE_ROUNDS}", HEAD, rows)
    ]


def row(name: str, measure: Callable[[list[str]], float], servers: Sequence[list[str]], times: int) -> Sequence[Cell]:
    """One figure of each server, in turns, so that other load on the machine hits both."""
    rounds = [[measure(login) for login in servers] for _ in range(times)]
    ours, *theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
    return (name, ours, *theirs, *(ours / base for base in theirs))


def at_once(login: list[str]) -> float:
    """Seconds until so many that last a second each have come and gone."""
    began = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda _: logged_in(login, "sleep 1"), range(AT_ONCE)))
    return time.perf_counter() - began


def outwards(login: list[str]) -> float:
    """Megabytes a second from the node."""
    return rate(f"{shlex.join(login)} '{ZEROS}' > /dev/null")


def inwards(login: list[str]) -> float:
    """Megabytes a second to the node."""
    return rate(f"{ZEROS} | {shlex.join(login)} 'cat > /dev/null'")


def rate(command: str) -> float:
    """Megabytes a second of a shell's command that moves MIB."""
    began = time.perf_counter()
    subprocess.run(["sh", "-c", command], check=True, timeout=300)
    return MIB * 1.048576 / (time.perf_counter() - began)


def copied(folder: Path, servers: Sequence[list[str]]) -> Iterator[Sequence[Cell]]:
    """Seconds of scp for a folder of small files: to the node, and from there."""
    small, there, back = folder / "small", f"/tmp/small-{os.getpid()}", folder / "back"  # noqa: S108 a sliver's own
    small.mkdir(parents=True)
    for number in range(FILES):
        (small / f"{number}").write_bytes(os.urandom(BYTES))

    def to_node(login: list[str]) -> float:
        subprocess.run([*login, f"rm -rf {there}"], check=True, stdin=subprocess.DEVNULL)
        return scp(login, str(small), f"{login[-1]}:{there}")

    def from_node(login: list[str]) -> float:
        shutil.rmtree(back, ignore_errors=True)
        return scp(login, f"{login[-1]}:{there}", str(back))

    for name, measure in (("to", to_node), ("from", from_node)):
        yield row(f"{FILES:,} small files {name} the node, s", measure, servers, FILE_ROUNDS)
    for login in servers:
        subprocess.run([*login, f"rm -r {there}"], check=True, stdin=subprocess.DEVNULL)


def scp(login: list[str], source: str, target: str) -> float:
    """Seconds of one copy, with the options of a login's command line."""
    began = time.perf_counter()
    subprocess.run(["scp", "-qr", *login[1:-1], source, target], check=True, stdin=subprocess.DEVNULL, timeout=600)
    return time.perf_counter() - began


MEASURES: dict[str, Callable[[list[str]], float]] = {
    "login, ms": logged_in,
    f"{AT_ONCE} at once for 1 s, s": at_once,
    "from the node, MB/s": outwards,
    "to the node, MB/s": inwards,
}


@contextmanager
def sshd(folder: Path, key: Path) -> Iterator[list[str]]:
    """A server of the machine's own that lets this key in; the command line that logs in to it."""
    host_key, config = folder / "host_key", folder / "sshd_config"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=PRIVATE, exist_ok=True)
    config.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {host_key}\nAuthorizedKeysFile {key}.pub\nPidFile none\n"
        "StrictModes no\nUsePAM no\nPermitRootLogin yes\nMaxStartups 200\nMaxSessions 200\n"
        "Subsystem sftp internal-sftp\n"
        "SetEnv SHLVL=5\n"  # else bash would read the startup file of this machine's user
    )
    process = subprocess.Popen([SSHD, "-D", "-f", str(config)], stderr=subprocess.DEVNULL)
    options = ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR", "-oBatchMode=yes"]
    try:
        time.sleep(1)
        yield ["ssh", "-i", str(key), f"-oPort={port}", *options, f"{getpass.getuser()}@127.0.0.1"]
    finally:
        process.terminate()
        process.wait()
