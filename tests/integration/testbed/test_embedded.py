"""The embedded servers: private, found again, and reachable from however deep a folder."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from testbed.embedded import SOCKET_PATH_LIMIT, Postgres, StartError, Valkey, reachable


def connect(url: str) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_each_role_owns_its_schema_and_no_other(fresh_database: Callable[..., str]) -> None:
    with connect(fresh_database("svm")) as connection:
        connection.execute("CREATE TABLE svm.t (i int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE plc.t (i int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE public.t (i int)")


def test_no_tcp_port_is_opened(postgres: Postgres, valkey: Valkey) -> None:
    with connect(postgres.url("svm")) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    client = redis.Redis(unix_socket_path=valkey.socket)
    assert client.config_get("port") == {"port": "0"}
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    client.close()


def test_sockets_lie_in_a_folder_for_their_owner_alone(postgres: Postgres, valkey: Valkey) -> None:
    for server in (postgres, valkey):
        assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("folder", ["d" * 120, "my lab #1 %20 é?@"], ids=["too deep for a socket", "no part of a URL"])
def test_a_home_whose_path_is_no_socket_s(tmp_path: Path, folder: str) -> None:
    deep = tmp_path / folder / "home"
    database, broker = Postgres(deep / "database", scratch=True), Valkey(deep / "broker")
    try:
        database.start()
        broker.start()
        with connect(database.url("agent")) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("agent",)
        client = redis.Redis(unix_socket_path=broker.socket)
        assert client.ping()
        client.close()
    finally:
        database.stop()
        broker.stop()


def test_a_short_path_is_left_alone() -> None:
    assert reachable(Path("/tmp"), "s" * (SOCKET_PATH_LIMIT - 5)) == Path("/tmp")
    assert reachable(Path("/tmp"), "s" * (SOCKET_PATH_LIMIT - 4)) != Path("/tmp")


def test_data_is_found_again_after_kill_9(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "database", scratch=True)
    try:
        server.start()
        with connect(server.url("plc")) as connection:
            connection.execute("CREATE TABLE plc.kept AS SELECT 1 AS one")
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        (tmp_path / "database/data/postmaster.pid").write_text(f"{os.getpid()}\n")  # a pid that somebody else has now
        server.start()
        with connect(server.url("plc")) as connection:
            assert connection.execute("SELECT one FROM plc.kept").fetchone() == (1,)
    finally:
        server.stop()


def test_the_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = """
        import os, sys
        from pathlib import Path
        from testbed.embedded import Valkey
        server = Valkey(Path(sys.argv[1]))
        server.start()
        print(server.pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "broker")], capture_output=True, text=True
    )
    pid = int(found.stdout)
    deadline = time.monotonic() + 20
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    broken = Valkey(tmp_path / "broker", maxmemory_mb=-1)
    with pytest.raises(StartError, match=r"valkey did not start: .*maxmemory"):
        broken.start()
    broken.stop()
