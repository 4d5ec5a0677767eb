"""Host entries with pinned keys, also when svmd says strange things."""

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest

from svm.sshconfig import config_text, find, hosts, write
from trust.errors import Code, Refusal
from trust.sshkeys import new_ssh_key_pair

_, PUBLIC = new_ssh_key_pair("")
KEY = " ".join(PUBLIC.split()[:2])


def sliver(node: str, name: str, state: str) -> dict[str, Any]:
    door = {"address": node, "port": 2222, "host_key": KEY}
    return {"node": node, "name": name, "state": state, "frontdoor": door}


DETAILS: dict[str, Any] = {"slivers": [sliver("127.0.1.1", "n1", "running"), sliver("127.0.1.2", "n2", "leased")]}


def with_door(**fields: object) -> dict[str, Any]:
    details = copy.deepcopy(DETAILS)
    details["slivers"][0]["frontdoor"] |= fields
    return details


def test_only_running_slivers() -> None:
    assert [host.node for host in hosts(DETAILS)] == ["127.0.1.1"]


def test_the_real_ssh_reads_it(tmp_path: Path) -> None:
    directory = tmp_path / "a folder"
    config = write(directory, "demo", hosts(DETAILS))
    for name in ("127.0.1.1", "demo.n1"):
        argv = ["ssh", "-G", "-F", str(config), name]
        said = dict(text.split(" ", 1) for text in subprocess.check_output(argv, text=True).splitlines() if " " in text)
        assert (said["hostname"], said["port"], said["user"]) == ("127.0.1.1", "2222", "demo")
        assert said["stricthostkeychecking"] in ("true", "yes")
        assert said["hostkeyalias"] == "127.0.1.1"
        assert said["userknownhostsfile"].strip('"') == str(directory / "slices" / "demo" / "known_hosts")
    known = directory / "slices" / "demo" / "known_hosts"
    assert known.read_text() == f"127.0.1.1 {KEY}\n"
    assert (known.stat().st_mode & 0o777, known.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize("word", ["127.0.1.1", "n1", "demo.n1"])
def test_a_host_by_any_of_its_names(word: str) -> None:
    assert find(DETAILS, "demo", word).node == "127.0.1.1"


def test_a_node_that_is_not_in_the_slice() -> None:
    with pytest.raises(Refusal, match="not a node with a running VM of demo") as caught:
        find(DETAILS, "demo", "127.0.1.2")
    assert caught.value.code is Code.NOT_FOUND


@pytest.mark.parametrize("word", ["127.0.1.3", "n3", "demo.n3"])
def test_a_vm_that_is_stopped_names_what_starts_it(word: str) -> None:
    details = {"slivers": [*DETAILS["slivers"], sliver("127.0.1.3", "n3", "stopped")]}
    with pytest.raises(Refusal, match=r"is stopped: svm start demo 127\.0\.1\.3 starts it"):
        find(details, "demo", word)


@pytest.mark.parametrize(
    "fields",
    [
        {"address": "127.0.1.1\nProxyCommand id"},
        {"address": "elsewhere.example"},
        {"port": 0},
        {"port": 65_536},
        {"port": "22 x"},
        {"host_key": "ssh-ed25519"},
        {"host_key": "* ssh-ed25519 AAAA"},
        {"host_key": "\nProxyCommand id"},
    ],
)
def test_a_front_door_that_makes_no_sense(fields: dict[str, object]) -> None:
    with pytest.raises(Refusal, match="makes no sense"):
        hosts(with_door(**fields))


@pytest.mark.parametrize(("member", "value"), [("node", "n1"), ("name", "n1\n x"), ("name", "*")])
def test_a_node_that_makes_no_sense(member: str, value: str) -> None:
    details = copy.deepcopy(DETAILS)
    details["slivers"][0][member] = value
    with pytest.raises(Refusal, match="makes no sense"):
        hosts(details)


def test_names_and_paths_that_would_break_the_file(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="is not a slice name"):
        config_text("demo\n    ProxyCommand id", [], tmp_path)
    with pytest.raises(Refusal, match="quote or newline"):
        write(tmp_path / 'a "folder"', "demo", hosts(DETAILS))


def test_a_host_key_is_cut_after_the_key() -> None:
    assert hosts(with_door(host_key=f"{KEY} comment\nhost2 x"))[0].host_key == KEY
