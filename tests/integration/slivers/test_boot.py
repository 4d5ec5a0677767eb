"""What a sliver runs at each start: its owner's program, and with root inside the services that packages installed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodemgr.slivers.drivers.driver import News
from tests.integration.slivers.conftest import ROOTED, Node, open_node, run_async
from tests.integration.slivers.test_enemy import keeper
from tests.integration.slivers.test_life import eventually

WRITE = """
mkdir -p ~/.config/dslice; cat >~/.config/dslice/boot <<'BOOT'
#!/bin/sh
{}
BOOT
chmod 755 ~/.config/dslice/boot
"""


def restart(node: Node, slice: str = "ocean") -> None:
    run_async(node.driver.stop(slice))
    run_async(node.driver.start(slice))


def news(node: Node, number: int) -> list[str]:
    """What is told of `ocean`, once it is so much."""
    found: list[News] = []
    end = time.monotonic() + 30
    while len(found) < number and time.monotonic() < end:
        found += run_async(node.driver.news())
        time.sleep(0.05)
    assert {each.slice for each in found} <= {"ocean"}
    return [each.words for each in found]


def test_the_owner_s_program_runs_at_each_start_and_says_how_it_went(node: Node) -> None:
    node.make("ocean")
    node.says("ocean", WRITE.format('echo "$0 $(id -un) $HOME $(pwd)"; echo ran >>~/ran; exit 3'))
    assert run_async(node.driver.news()) == []
    for number in (1, 2):
        restart(node)
        said = "its boot ended with status 3: ~/.config/dslice/boot.log says more"
        assert news(node, 2) == ["its boot began", said]
        assert node.says("ocean", "grep -c . ~/ran") == str(number)
    home = "/home/ocean"
    first, second = node.says("ocean", "cat ~/.config/dslice/boot.log").split("\n")
    assert first == f"{home}/.config/dslice/boot ocean {home} {home}"
    assert second == f"{home}/.config/dslice/boot: exit status 3"
    node.says("ocean", WRITE.format("true"))
    restart(node)
    assert news(node, 2) == ["its boot began", "its boot ended well"]


@pytest.mark.parametrize(
    "harmless",
    ["true", "mkdir -p ~/.config/dslice/boot", "mkdir -p ~/.config/dslice; echo x >~/.config/dslice/boot"],
    ids=["none", "a folder", "not executable"],
)
def test_where_there_is_nothing_to_run_nothing_is_told(node: Node, harmless: str) -> None:
    node.make("ocean")
    node.says("ocean", harmless)
    restart(node)
    node.says("ocean", "sleep 1")
    assert run_async(node.driver.news()) == []
    eventually(lambda: not node.driver._boots._under_way)  # type: ignore[attr-defined]


def test_one_that_hangs_harms_nothing_and_outlives_its_node_manager(node: Node) -> None:
    node.make("ocean")
    node.says("ocean", WRITE.format("echo up; exec sleep 521"))
    restart(node)
    assert news(node, 1) == ["its boot began"]
    assert node.says("ocean", "echo in; cat ~/.config/dslice/boot.log") == "in\nup"
    node.driver = node.open()
    assert node.says("ocean", "pgrep -c -f '^sleep 521'") == "1"
    assert run_async(node.driver.news()) == []
    node.says("ocean", "kill $(pgrep -f '^sleep 521')")
    restart(node)
    assert news(node, 1) == ["its boot began"]
    node.says("ocean", "pkill -9 -f '/etc/slice/[b]oot' || kill -9 $(pgrep -f '^sleep 521')")
    if not node.has_root:  # else root's part is out of the user's reach, and tells of the status
        assert news(node, 1) == ["its boot was cut off: ~/.config/dslice/boot.log may say more"]


def test_one_that_ends_with_its_sliver_is_not_told(node: Node) -> None:
    node.make("ocean")
    node.says("ocean", WRITE.format("exec sleep 522"))
    restart(node)
    assert news(node, 1) == ["its boot began"]
    run_async(node.driver.stop("ocean"))
    eventually(lambda: run_async(node.driver.news()) == [] and not node.driver._boots._under_way)  # type: ignore[attr-defined]


def test_a_home_that_takes_no_log_runs_it_all_the_same(node: Node) -> None:
    node.make("ocean")
    node.says("ocean", WRITE.format("echo ran >~/ran") + "mkdir ~/.config/dslice/boot.log")
    restart(node)
    assert news(node, 2)[0] == "its boot began"
    assert node.says("ocean", "cat ~/ran") == "ran"


def test_what_is_said_on_the_pipe_is_bounded(node: Node) -> None:
    """Whoever is inside may write to it what he likes."""
    node.make("ocean")
    node.says(
        "ocean",
        WRITE.format(
            "for fd in /proc/[0-9]*/fd/3; do (head -c 60000 /dev/zero; echo; echo 'ended 999999'; echo 'ended 7 \\n8')"
            " >$fd; done 2>/dev/null; exit 0"
        ),
    )
    restart(node)
    for words in news(node, 2):
        assert len(words) < 100
    assert node.says("ocean", "echo alive") == "alive"


@pytest.fixture(params=ROOTED)
def machine(request: pytest.FixtureRequest, tmp_path: Path, podman: str | None) -> Iterator[Node]:
    """A node whose slivers have root inside, with a sliver `ocean`."""
    with open_node(request.param, tmp_path, podman) as made:
        made.make("ocean")
        yield made


SERVICE = """
printf '#!/bin/sh\\n[ "$1" != start ] || setsid sh -c "while :; do date +%%N >/run/tide; sleep 0.1; done" \\
    >/dev/null 2>&1 </dev/null &\\n' >/etc/init.d/tide
chmod 755 /etc/init.d/tide; mkdir -p /etc/rc2.d; ln -s ../init.d/tide /etc/rc2.d/S01tide
printf '#!/bin/sh\\nid -u; echo $HOME; pwd; exit 4\\n' >/etc/rc.local; chmod 755 /etc/rc.local
"""


def test_services_and_rc_local_come_back_as_root(machine: Node) -> None:
    machine.root_says("ocean", SERVICE)
    machine.says("ocean", WRITE.format("test -e /etc/rc.local && id -un"))
    restart(machine)
    assert news(machine, 2)[1] == "its boot ended with status 4: ~/.config/dslice/boot.log says more"
    eventually(lambda: machine.run("ocean", "test -s /run/tide").returncode == 0)
    assert machine.says("ocean", "cat ~/.config/dslice/boot.log") == (
        "0\n/root\n/\n/etc/rc.local: exit status 4\nocean"
    )


def test_what_died_is_started_with_its_services(machine: Node) -> None:
    machine.root_says("ocean", SERVICE)
    spec_id = run_async(machine.driver.list())["ocean"]
    os.kill(keeper(machine, "ocean").pid, signal.SIGKILL)
    eventually(lambda: run_async(machine.driver.ended(["ocean"])) == ["ocean"])
    run_async(machine.driver.start("ocean"))
    eventually(lambda: machine.run("ocean", "test -s /run/tide").returncode == 0)
    assert run_async(machine.driver.list())["ocean"] == spec_id


def test_a_reset_forgets_root_s_part_and_keeps_the_owner_s(machine: Node) -> None:
    machine.root_says("ocean", SERVICE)
    machine.says("ocean", WRITE.format("echo mine"))
    run_async(machine.driver.reset("ocean"))
    assert news(machine, 2) == ["its boot began", "its boot ended well"]
    assert machine.says("ocean", "cat ~/.config/dslice/boot.log") == "mine"
