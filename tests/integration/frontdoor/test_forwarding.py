"""ssh -L, -R and -A in the own sliver, by ports and by socket files, by the real client."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodemgr.frontdoor import lending, limits
from tests.integration.frontdoor.conftest import Node
from tests.integration.frontdoor.test_streams import eventually
from trust.errors import Refusal

REFUSED = 255
SERVER = (
    "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); print('up', flush=True);"
    " c, _ = s.accept(); c.sendall(b'got ' + c.recv(100)); c.close()"
)
CLIENT = (
    "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b'inside');"
    " s.shutdown(1); print(s.recv(100).decode())"
)


@contextlib.contextmanager
def service(folder: Path | None = None) -> Iterator[tuple[socket.socket, list[bytes]]]:
    """What the user runs at home: says hello to each visitor, and remembers what it said."""
    heard: list[bytes] = []
    where = socket.create_server(("127.0.0.1", 0)) if folder is None else socket.socket(socket.AF_UNIX)
    if folder is not None:
        where.bind(str(folder / "home"))
        where.listen()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                visitor, _ = where.accept()
                with visitor:
                    heard.append(visitor.recv(100))
                    visitor.sendall(b"hello")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield where, heard
    finally:
        where.shutdown(socket.SHUT_RDWR)
        where.close()
        thread.join()


def test_a_local_port_to_a_socket_file_inside(door: Node, tmp_path: Path) -> None:
    place = f"/tmp/there-{os.getpid()}"
    mine = tmp_path / "here"
    with door.start(f'rm -f {place}; exec python3 -c "{SERVER}" {place}') as inside:
        assert inside.stdout.readline() == b"up\n"
        with door.start("-N", f"-L{mine}:{place}", "--"):
            eventually(mine.exists)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(mine))
                client.sendall(b"news")
                assert client.recv(100) == b"got news"
                assert client.recv(100) == b""


def test_a_socket_file_that_is_not_there_ends_the_connection_alone(node: Node, tmp_path: Path) -> None:
    mine = tmp_path / "here"
    with node.start("-N", f"-L{mine}:/tmp/nowhere", "--") as client:
        eventually(mine.exists)
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(str(mine))
            visitor.settimeout(60)
            assert visitor.recv(100) == b""
        assert client.poll() is None


def test_a_port_by_the_nodes_own_address(node: Node) -> None:
    server = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True);"
    with node.start(f"exec python3 -c \"{server} c, _ = s.accept(); c.sendall(b'hello'); c.close()\"") as inside:
        port = int(inside.stdout.readline())
        assert node.ssh("-W", f"127.0.0.1:{port}", "--").stdout == b"hello"


def test_a_refused_forward_says_why(node: Node) -> None:
    done = node.ssh("-oLogLevel=INFO", "-Wexample.org:80", "--")
    assert done.returncode == REFUSED
    assert b"no front door of a node and no port of the sliver's is at example.org:80" in done.stderr
    key = node.folder / f"{node.login}_slice_key"
    done = node.ssh("-oLogLevel=INFO", "-Wlocalhost:80", "--", key=key)
    assert b"the slice's own key forwards nothing; use a user's" in done.stderr


def fetch(door: Node, port: str) -> bytes:
    """Through a port inside, to what listens at home."""
    code = f"import socket; s = socket.create_connection(('127.0.0.1', {port})); s.sendall(b'hi'); print(s.recv(9))"
    return bytes(door.ssh(f'python3 -c "{code}"').stdout)


def test_a_port_inside_that_leads_home(door: Node) -> None:
    with (
        service() as (home, heard),
        door.start("-N", "-oLogLevel=INFO", f"-R0:127.0.0.1:{home.getsockname()[1]}", "--") as client,
    ):
        assert fetch(door, _allocated(client)) == b"b'hello'\n"
        assert heard == [b"hi"]


def _allocated(client: subprocess.Popen[bytes]) -> str:
    assert client.stderr is not None
    while not (line := client.stderr.readline()).startswith(b"Allocated port"):
        assert line, "no port was allocated"
    return line.split()[2].decode()


def test_a_port_inside_is_the_slivers_and_free_when_the_client_is_gone(node: Node, slice_name: str) -> None:
    with service() as (home, _):
        with node.start("-N", "-oLogLevel=INFO", f"-R0:127.0.0.1:{home.getsockname()[1]}", "--") as client:
            port = int(_allocated(client))
            assert node.driver.owns_port(node.login, "127.0.0.1", port)  # type: ignore[attr-defined]
            assert node.ssh("-W", f"localhost:{port}", "--", login=slice_name).returncode == REFUSED
        eventually(lambda: _is_free(port))


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_a_port_that_is_taken_or_everybodys_is_refused_with_a_reason(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        strict = ["-v", "-oLogLevel=DEBUG1", "-oExitOnForwardFailure=yes"]
        done = node.ssh(*strict, f"-R{port}:127.0.0.1:9", "--", "true")
        assert done.returncode == REFUSED
        assert f"localhost:{port} is not listened on: Address already in use".encode() in done.stderr
        done = node.ssh(*strict, "-R192.0.2.1:0:127.0.0.1:9", "--", "true")
        assert done.returncode == REFUSED
        assert b"a sliver listens for ssh -R on localhost only" in done.stderr


def test_forwards_of_a_shared_connection_come_and_go(door: Node, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with service() as (home, _), door.start("-M", f"-S{shared}", "-N", "--"):
        eventually(shared.exists)
        forward = f"-R{port}:127.0.0.1:{home.getsockname()[1]}"
        assert door.ssh(f"-S{shared}", "-Oforward", forward, "--").returncode == 0
        assert fetch(door, str(port)) == b"b'hello'\n"
        assert door.ssh(f"-S{shared}", "-Ocancel", forward, "--").returncode == 0
        eventually(lambda: _is_free(port))


def test_a_socket_file_inside_that_leads_home(door: Node, node: Node, tmp_path: Path) -> None:
    place = f"/tmp/back-{os.getpid()}-{door.port}"
    with service(tmp_path) as (_, heard):
        with door.start(f"-R{place}:{tmp_path}/home", "--", f"stat -c %a {place}; cat") as client:
            assert client.stdout.readline() == b"600\n"
            assert door.ssh(f'python3 -c "{CLIENT}" {place}').stdout == b"hello\n"
            assert heard == [b"inside"]
        if door.login == node.login:
            eventually(lambda: door.ssh(f"test -e {place}").returncode == 1)
        else:  # sshd leaves it there, which is here
            Path(place).unlink()


def test_what_home_says_last_arrives_although_it_hangs_up(door: Node, tmp_path: Path) -> None:
    """Inside nothing more is said, so that the client closes the channel right after its last bytes."""
    size = 400_000  # more than the sockets on the way hold
    reader = (
        "import socket, sys, time; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); s.shutdown(1);"
        " time.sleep(0.4); print(sum(map(len, iter(lambda: s.recv(65536), b''))))"
    )
    with socket.create_server(("127.0.0.1", 0)) as home:

        def serve() -> None:
            visitor, _ = home.accept()
            with visitor:
                visitor.recv(100)
                visitor.sendall(bytes(size))

        threading.Thread(target=serve, daemon=True).start()
        with door.start("-N", "-oLogLevel=INFO", f"-R0:127.0.0.1:{home.getsockname()[1]}", "--") as client:
            port = _allocated(client)
            assert int(door.ssh(f'python3 -c "{reader}" {port}').stdout) == size


def test_the_users_agent_is_inside_while_the_session_is(door: Node, agent: dict[str, str]) -> None:
    say = "stat -c %a $SSH_AUTH_SOCK; ssh-add -l; echo $SSH_AUTH_SOCK"
    done = door.ssh("-A", "--", say, env=agent)
    mode, key, place = done.stdout.decode().splitlines()
    assert mode[-2:] in ("00", "55")  # sshd's is as its umask has it, in a folder that only the user may open
    assert "only-mine" in key
    eventually(lambda: door.ssh(f"test -e {place}").returncode == 1)
    assert door.ssh("-a", "--", "echo [$SSH_AUTH_SOCK]", env=agent).stdout == b"[]\n"


def test_the_slices_own_key_listens_for_nobody(node: Node, agent: dict[str, str]) -> None:
    key = node.folder / f"{node.login}_slice_key"
    assert node.ssh("-A", "--", "echo [$SSH_AUTH_SOCK]", env=agent, key=key).stdout == b"[]\n"
    for forward in ("-R0:127.0.0.1:9", "-R/tmp/back:127.0.0.1:9"):
        assert node.ssh(forward, "-oExitOnForwardFailure=yes", "--", "true", key=key).returncode == REFUSED


def test_listeners_are_bounded(node: Node, slice_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CHANNELS_PER_SLICE", 2)
    strict = ["-oExitOnForwardFailure=yes", "-N"]
    with service() as (home, _):
        port = home.getsockname()[1]
        forwards = [f"-R0:127.0.0.{n}:{port}" for n in (1, 2, 3)]
        assert node.ssh(*strict, *forwards, "--", login=slice_name).returncode == REFUSED


def test_what_failed_for_a_while_works_again(node: Node, tmp_path: Path) -> None:
    """The node is short of something, and the sliver slow."""
    strict = ["-v", "-oLogLevel=DEBUG1", "-oExitOnForwardFailure=yes"]
    listen = [*strict, f"-R/tmp/again-{os.getpid()}:127.0.0.1:9", "--", "true"]

    def short(*_: object, **__: object) -> None:
        raise OSError(24, "too many open files")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node.driver, "owns_port", short)
        assert b"this node cannot open it now" in node.ssh(*strict, "-Wlocalhost:1", "--").stderr
        patch.setattr(node.driver, "enter", short)
        assert b"this node cannot forward now" in node.ssh(*listen).stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lending, "SECONDS", 1e-6)
        assert b"the sliver did not answer in time" in node.ssh(*listen).stderr
    assert node.ssh(*listen).returncode == 0
    assert b"no port of the sliver's is at localhost:1" in node.ssh(*strict, "-Wlocalhost:1", "--").stderr


def test_what_a_sliver_gives_instead_of_a_socket_is_not_taken(node: Node, slice_name: str, tmp_path: Path) -> None:
    """Its user may stop the program that makes the sockets, and speak in its place."""
    code = (
        "import array, socket, sys; c = socket.socket(fileno=3);"
        " f = {'file': lambda: open('/etc/passwd'), 'datagram': lambda: socket.socket(type=socket.SOCK_DGRAM),"
        " 'idle': socket.socket}[sys.argv[1]]();"
        " c.sendmsg([b'ok x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [f.fileno()]))])"
    )
    for kind in ("file", "datagram", "idle"):
        with pytest.raises(Refusal, match="the sliver gave"):
            lending.listening(
                lambda _argv, control, kind=kind: node.driver.enter(  # type: ignore[misc]
                    slice_name, ["python3", "-c", code, kind], pty=None, control=control
                ),
                "agent",
            )
