"""The front door: logins one by one, fifty at once, bytes and files each way; beside sshd on the same machine = 1.0.

Without an sshd (Debian: openssh-server) there is no second column. It listens on loopback with a key and a
configuration of its own, and runs the commands outside of any sliver. A second one runs inside the same sliver, where
there is root to start it: what it does otherwise than the first is what the sliver costs, not the front door.
"""

import getpass
import os
import shlex
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.tools.login import logged_in, prepared
from bench.tools.scale import full
from bench.tools.stage import testbed
from bench.tools.tables import Cell, Table
from tests.clients import server
from tests.clients.doing import free_port

ROUNDS, AT_ONCE = 3, 50
MANY = f"{AT_ONCE} at once for 1 s, s"  # in one round: it takes as long as all else
MIB = 200  # sent each way
FILES, FILES_FULL, BYTES = 2_000, 10_000, 500  # copied each way, and how large each is
ZEROS = f"head -c {MIB << 20} /dev/zero"
HEAD = ("", "dslice", "sshd", "ratio", "sshd in the sliver", "ratio")
PRIVATE = 0o755  # sshd wants the folder where it leaves its privileges to be root's
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
OPTIONS = ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR", "-oBatchMode=yes"]


def main() -> Sequence[Table]:
    with tempfile.TemporaryDirectory() as folder, testbed(folder, "--nodes", "1") as stage, ExitStack() as stack:
        login = prepared(stage, "sessions")
        servers = [login]
        if Path(SSHD).exists():
            key = Path(login[login.index("-i") + 1])
            servers.append(stack.enter_context(sshd(Path(folder), key)))
            if (
                subprocess.run([*login, f"sudo -n test -x {SSHD}"], stdin=subprocess.DEVNULL, check=False).returncode
                == 0
            ):
                servers.append(stack.enter_context(sshd_inside(login, "sessions", key)))
        rows = [row(name, measure, servers) for name, measure in MEASURES.items()]
        rows += copied(Path(folder) / "files", servers)
    title = f"The front door by OpenSSH's client, medians of {ROUNDS}; ratios are those within a round"
    return [Table("sessions", title, HEAD[: 1 + 2 * len(servers) - 1], rows)]


def row(name: str, measure: Callable[[list[str]], float], servers: Sequence[list[str]]) -> Sequence[Cell]:
    """One figure of each server, in turns, so that other load on the machine hits all."""
    rounds = [[measure(login) for login in servers] for _ in range(1 if name == MANY else ROUNDS)]
    cells: list[Cell] = [name, statistics.median(each[0] for each in rounds)]
    for place in range(1, len(servers)):
        cells.append(statistics.median(each[place] for each in rounds))
        cells.append(statistics.median(each[0] / each[place] for each in rounds))
    return cells


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
    files = FILES_FULL if full() else FILES
    small, there, back = folder / "small", f"/tmp/small-{os.getpid()}", folder / "back"  # noqa: S108 a sliver's own
    small.mkdir(parents=True)
    for number in range(files):
        (small / f"{number}").write_bytes(os.urandom(BYTES))

    def to_node(login: list[str]) -> float:
        subprocess.run([*login, f"rm -rf {there}"], check=True, stdin=subprocess.DEVNULL)
        return scp(login, str(small), f"{login[-1]}:{there}")

    def from_node(login: list[str]) -> float:
        shutil.rmtree(back, ignore_errors=True)
        return scp(login, f"{login[-1]}:{there}", str(back))

    for name, measure in (("to", to_node), ("from", from_node)):
        yield row(f"{files:,} small files {name} the node, s", measure, servers)
    for login in servers:
        subprocess.run([*login, f"rm -rf {there}"], check=True, stdin=subprocess.DEVNULL)


def scp(login: list[str], source: str, target: str) -> float:
    """Seconds of one copy, with the options of a login's command line."""
    began = time.perf_counter()
    subprocess.run(["scp", "-qr", *login[1:-1], source, target], check=True, stdin=subprocess.DEVNULL, timeout=600)
    return time.perf_counter() - began


MEASURES: dict[str, Callable[[list[str]], float]] = {
    "login, ms": logged_in,
    MANY: at_once,
    "from the node, MB/s": outwards,
    "to the node, MB/s": inwards,
}


@contextmanager
def sshd(folder: Path, key: Path) -> Iterator[list[str]]:
    """A server of the machine's own that lets this key in; the command line that logs in to it."""
    host_key, config, port = folder / "host_key", folder / "sshd_config", free_port()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=PRIVATE, exist_ok=True)
    config.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {host_key}\nAuthorizedKeysFile {key}.pub\nPidFile none\n"
        "StrictModes no\nUsePAM no\nPermitRootLogin yes\nMaxStartups 200\nMaxSessions 200\n"
        "Subsystem sftp internal-sftp\n"
        "SetEnv SHLVL=5\n"  # else bash would read the startup file of this machine's user
    )
    process = subprocess.Popen([SSHD, "-D", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        yield ["ssh", "-i", str(key), f"-oPort={port}", *OPTIONS, f"{getpass.getuser()}@127.0.0.1"]
    finally:
        process.terminate()
        process.wait()


@contextmanager
def sshd_inside(login: list[str], user: str, key: Path) -> Iterator[list[str]]:
    """One that root of the sliver runs; the command line that logs in to it as the sliver's user."""
    port, prepare = free_port(), server.prepare(key.with_suffix(".pub").read_text())
    subprocess.run([*login, prepare], input=server.CONFIG.format(port=port), text=True, check=True)
    argv = [*login, server.start(SSHD)]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            assert b"listening" in process.stderr.readline()
            yield ["ssh", "-i", str(key), f"-oPort={port}", *OPTIONS, f"{user}@127.0.0.1"]
        finally:
            process.terminate()
