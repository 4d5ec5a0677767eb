"""The life of a sliver: made, entered, stopped, found again, limited, removed. One suite for every driver."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from nodemgr.slivers.drivers import life
from nodemgr.slivers.drivers.driver import News, Pty
from nodemgr.slivers.inside.etc import LOCALHOST
from tests.integration.slivers.conftest import Node, run_async
from trust.errors import Code, Refusal


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "never happened"
        time.sleep(0.05)


def test_inside_it_looks_like_a_machine_of_the_slices_own(node: Node) -> None:
    node.make("ocean_1")
    facts = node.says(
        "ocean_1", "whoami; id -u; hostname; echo ~; pwd; echo $HOME; test -w ~ && test -w /tmp && echo w"
    )
    assert facts.split("\n") == ["ocean_1", str(node.uid), "ocean-1-n-1", *["/home/ocean_1"] * 3, "w"]


def test_creating_twice_changes_nothing(node: Node) -> None:
    spec = node.make("ocean")
    node.says("ocean", "echo kept > ~/file; setsid sleep 500 >/dev/null 2>&1 </dev/null &")
    eventually(lambda: node.run("ocean", "pgrep -f '^sleep 500'").returncode == 0)
    run_async(node.driver.create(spec))
    assert node.says("ocean", "cat ~/file; pgrep -c -f '^sleep 500'") == "kept\n1"


def test_another_registration_of_the_name_starts_empty(node: Node) -> None:
    node.make("ocean")
    node.says("ocean", "echo old > ~/file")
    new = node.make("ocean")
    assert run_async(node.driver.list()) == {"ocean": new.slice_id}
    assert node.run("ocean", "cat ~/file").returncode == 1


def test_slivers_outlive_their_node_manager_and_are_found_again(node: Node) -> None:
    spec = node.make("ocean")
    node.says("ocean", "echo kept > ~/file; setsid sleep 500 >/dev/null 2>&1 </dev/null &")
    node.driver = node.open()
    assert run_async(node.driver.list()) == {"ocean": spec.slice_id}
    assert node.says("ocean", "cat ~/file; pgrep -c -f '^sleep 500'") == "kept\n1"
    run_async(node.driver.create(spec))
    assert node.says("ocean", "pgrep -c -f '^sleep 500'") == "1"


def test_slivers_outlive_what_a_new_node_manager_ends(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the sessions of the one before, a moment after it has told them."""
    node.make("ocean")
    node.says("ocean", "setsid sleep 500 >/dev/null 2>&1 </dev/null &")
    lost = node.driver.enter("ocean", ["/bin/bash", "-c", "trap '' HUP; echo in; sleep 502"], pty=None)
    assert os.read(lost.stdout, 10) == b"in\n"
    monkeypatch.setattr(life, "HANGUP_SECONDS", 0.3)
    node.driver = node.open()
    (timer,) = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    timer.join()
    assert run_async(node.driver.ended(["ocean"])) == []
    assert node.says("ocean", "pgrep -c -f '^sleep 500'") == "1"
    node.says("ocean", "pkill -f '^sleep 502'")
    lost.wait()
    _close(lost)


def test_sessions_of_a_killed_node_manager_are_hung_up(node: Node) -> None:
    node.make("ocean")
    lost = node.driver.enter("ocean", ["/bin/bash", "-c", "echo in; sleep 501; true"], pty=None)
    assert os.read(lost.stdout, 10) == b"in\n"
    node.driver = node.open()
    assert lost.wait() == 128 + signal.SIGHUP
    _close(lost)
    eventually(lambda: node.run("ocean", "pgrep -f '^sleep 501'").returncode == 1)


def test_a_keeper_that_nobody_recorded_is_ended(node: Node) -> None:
    """The node manager died between starting a sliver's first process and writing down which it is."""
    if node.driver.name == "podman":
        pytest.skip("podman records its containers itself")
    node.make("ocean")
    node.says("ocean", "setsid sleep 507 >/dev/null 2>&1 </dev/null &")
    (node.folder / "ocean/keeper.json").unlink()
    node.driver = node.open()
    assert subprocess.run(["pgrep", "-f", "^sleep 507"]).returncode == 1
    run_async(node.driver.start("ocean"))
    assert node.says("ocean", "echo alive") == "alive"


def test_stop_ends_processes_and_keeps_files(node: Node) -> None:
    node.make("ocean")
    node.says("ocean", "echo kept > ~/file; setsid sleep 500 >/dev/null 2>&1 </dev/null &")
    run_async(node.driver.stop("ocean"))
    run_async(node.driver.stop("ocean"))
    with pytest.raises(Refusal) as refused:
        node.run("ocean", "true")
    assert refused.value.code == Code.NOT_FOUND
    run_async(node.driver.start("ocean"))
    run_async(node.driver.start("ocean"))
    assert node.says("ocean", "cat ~/file; pgrep -c -f '^sleep 500' || true") == "kept\n0"


def test_a_dead_sliver_is_started_again_by_create(node: Node) -> None:
    spec = node.make("ocean")
    run_async(node.driver.stop("ocean"))
    run_async(node.driver.create(spec))
    assert node.says("ocean", "echo alive") == "alive"


def test_stop_ends_stopped_sessions_too(node: Node) -> None:
    node.make("ocean")
    session = node.driver.enter("ocean", ["/bin/bash", "-c", "echo in; while :; do kill -STOP $$; done"], pty=None)
    assert os.read(session.stdout, 10) == b"in\n"
    time.sleep(0.2)
    run_async(node.driver.stop("ocean"))
    assert session.wait() == 128 + signal.SIGKILL
    _close(session)


def test_delete_removes_everything_and_may_be_repeated(node: Node) -> None:
    node.make("ocean")
    node.says("ocean", "mkdir ~/d; echo x > ~/d/file; ln -s / ~/root; setsid sleep 502 >/dev/null 2>&1 </dev/null &")
    run_async(node.driver.delete("ocean"))
    run_async(node.driver.delete("ocean"))
    assert run_async(node.driver.list()) == {}
    assert [path.name for path in node.folder.iterdir() if not path.name.startswith(".")] == []
    assert subprocess.run(["pgrep", "-f", "^sleep 502"]).returncode == 1


def test_delete_survives_what_a_user_leaves_behind(node: Node, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    node.make("ocean")
    node.says(
        "ocean",
        f"ln -s {precious} ~/link; ln -s {precious}/file ~/link2; mkdir -p ~/'a\nb'/$'\\xff'; mkdir ~/shut ~/shut/in;"
        "echo x > ~/shut/in/file; chmod 000 ~/shut/in ~/shut; mkfifo ~/fifo; chmod 000 /tmp; touch ~/-rf;"
        "cd ~; perl -e 'for (1..300) { mkdir q(d) x 20; chdir q(d) x 20 }'; chmod 000 ~",
    )
    run_async(node.driver.delete("ocean"))
    assert (precious / "file").read_text() == "mine"
    assert [path.name for path in node.folder.iterdir() if not path.name.startswith(".s")] == []


def test_a_name_that_is_no_slice_name_never_becomes_a_path(node: Node) -> None:
    for name in ("..", "../x", ".ssh", "a/b", "", "A"):
        with pytest.raises(Refusal) as refused:
            run_async(node.driver.delete(name))
        assert refused.value.code == Code.BAD_INPUT


def test_what_is_not_there(node: Node) -> None:
    with pytest.raises(Refusal) as refused:
        run_async(node.driver.start("ocean"))
    assert refused.value.code == Code.NOT_FOUND
    run_async(node.driver.stop("ocean"))
    run_async(node.driver.delete("ocean"))


def test_processes_are_limited_per_sliver(node: Node) -> None:
    node.make("ocean", processes=20)
    node.make("lake", processes=20)
    forks = "for (1..{}) {{ $p = fork; last unless defined $p; if (!$p) {{ sleep 60; exit }} push @p, $p }}"
    end = "$| = 1; print scalar @p; <STDIN>; kill 9, @p"
    full = node.driver.enter("lake", ["/usr/bin/perl", "-e", forks.format(60) + end], pty=None)
    assert 10 <= int(os.read(full.stdout, 10)) < 20
    assert node.says("ocean", f"perl -e '{forks.format(12)}{end}'") == "12"
    full.hangup()
    full.wait()
    _close(full)


def test_a_full_sliver_can_still_be_entered(node: Node) -> None:
    node.make("ocean", processes=15)
    full = node.driver.enter(
        "ocean", ["/usr/bin/perl", "-e", "$| = 1; while (defined fork) {} print 1; sleep 60"], pty=None
    )
    assert os.read(full.stdout, 1) == b"1"
    assert node.says("ocean", "kill -9 -1; echo room") == "room"
    assert node.says("ocean", "ls -d /").split() == ["/"]
    assert full.wait() == 128 + signal.SIGKILL
    _close(full)


def test_memory_of_all_processes_together_is_limited(node: Node) -> None:
    if getattr(node.driver, "_cgroups", True) is None:
        pytest.skip("no control group can be written here, so that memory is limited per process only")
    node.make("ocean", memory_mb=64)
    hog = "perl -e '$x = \"a\" x (25 << 20); sleep 1'"
    done = node.run("ocean", f"for i in 1 2 3 4; do {hog} & done; for j in $(jobs -p); do wait $j || echo killed; done")
    assert "killed" in done.stdout


def test_memory_is_limited(node: Node) -> None:
    node.make("ocean", memory_mb=64)
    hog = node.driver.enter(
        "ocean", ["/usr/bin/perl", "-e", '$| = 1; $x = "a" x (200 << 20); print 1; sleep 60'], pty=None
    )
    os.read(hog.stdout, 1)
    run_async(node.driver.bound_memory())  # as the node does each second
    assert hog.wait() == 128 + signal.SIGKILL
    _close(hog)
    (told,) = run_async(node.driver.news())
    assert told == News("ocean", "one of its processes was ended: its memory was full")
    assert node.says("ocean", "perl -e '$x = \"a\" x (20 << 20); print length $x'") == str(20 << 20)


def test_where_there_is_no_root_sudo_says_so(node: Node) -> None:
    node.make("ocean")
    if node.has_root:
        assert node.says("ocean", "sudo id -u") == "0"
        return
    for command in ("sudo", "apt-get"):
        said = node.run("ocean", f"{command} install tree")
        assert said.returncode == 1
        assert f"{command}: slivers of this node have no root inside" in said.stderr


def test_the_slice_key_and_host_files_are_seen_inside(node: Node) -> None:
    spec = node.make("ocean")
    hosts = f"{LOCALHOST}127.0.9.1\tocean-n-1\n127.0.9.2\tn2.site.example\n"
    node.driver.write_host_files("node1 ssh-ed25519 AAAA", "Host *\n    StrictHostKeyChecking yes\n", hosts)
    assert node.says("ocean", "cat /etc/ssh/ssh_known_hosts") == "node1 ssh-ed25519 AAAA"
    assert node.says("ocean", "ssh -G elsewhere | grep -i stricthost") == "stricthostkeychecking true"
    assert node.says("ocean", "ssh-keygen -y -f /etc/slice/ssh_key").split()[:2] == spec.public_key.split()[:2]
    assert node.says("ocean", "stat -c %a /etc/slice/ssh_key") == "400"
    assert node.says("ocean", "hostname -f; getent hosts ocean-n-1 n2.site.example localhost").split() == [
        *("ocean-n-1", "127.0.9.1", "ocean-n-1", "127.0.9.2", "n2.site.example"),
        *("::1", "localhost", "ip6-localhost", "ip6-loopback"),
    ]
    node.driver.write_host_files("", "", f"{LOCALHOST}127.0.9.3\tn3\n")
    assert node.says("ocean", "getent hosts n3") == "127.0.9.3       n3"  # of nodes that come while it runs


def test_another_slice_key_takes_its_place_at_once(node: Node) -> None:
    node.make("ocean")
    other = node.spec("ocean")
    run_async(node.driver.set_slice_key("ocean", private_key=other.private_key, public_key=other.public_key))
    assert node.says("ocean", "ssh-keygen -y -f /etc/slice/ssh_key").split()[:2] == other.public_key.split()[:2]
    with pytest.raises(Refusal):
        run_async(node.driver.set_slice_key("lake", private_key="", public_key=""))


def test_a_terminal_is_the_slivers_own(node: Node) -> None:
    node.make("ocean")
    session = node.driver.enter("ocean", ["/bin/bash", "-c", "tty; stty size"], pty=Pty("xterm", 81, 25))
    session.resize(81, 25)
    said = b""
    while True:
        try:
            said += os.read(session.stdout, 1024)
        except OSError:
            break
    assert said.startswith(b"/dev/pts/0\r\n25 81")
    assert session.wait() == 0
    os.close(session.stdout)


def test_orphans_are_reaped(node: Node) -> None:
    node.make("ocean")
    node.says("ocean", "for i in 1 2 3 4 5; do (setsid sh -c 'sleep 0.1' &) ; done; sleep 0.5")
    assert node.says("ocean", "ps -eo stat= | grep -c ^Z || true") == "0"


def test_several_slivers_at_once(node: Node) -> None:
    async def together() -> None:
        import asyncio

        await asyncio.gather(*(node.driver.create(node.spec(f"s{n}")) for n in range(10, 16)))

    node.made += [f"s{n}" for n in range(10, 16)]
    run_async(together())
    assert {node.says(f"s{n}", "whoami") for n in range(10, 16)} == {f"s{n}" for n in range(10, 16)}


def test_a_half_made_sliver_is_made_anew(node: Node) -> None:
    """The node manager died between making the folder and writing the record."""
    (node.folder / "ocean/home").mkdir(parents=True)
    (node.folder / "ocean/home/rest").touch()
    assert run_async(node.driver.list()) == {}
    node.make("ocean")
    assert node.says("ocean", "ls ~") == ""


def test_a_removal_that_was_cut_off_is_finished_at_the_next_start(node: Node) -> None:
    node.make("ocean")
    run_async(node.driver.stop("ocean"))
    (node.folder / "ocean").rename(node.folder / f".removed-own-{uuid.uuid4().hex}")
    node.driver = node.open()
    assert [path.name for path in node.folder.iterdir() if path.name.startswith(".removed")] == []


def _close(session: object) -> None:
    for name in ("stdin", "stdout", "stderr", "ended"):
        os.close(getattr(session, name))
