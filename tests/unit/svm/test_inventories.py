"""Nodes for Ansible and Prometheus, of several slices at once."""

from pathlib import Path

from svm.inventories import Found, listed, of_slice, targets
from svm.sshconfig import Host

ONE, TWO = (Host(f"10.0.0.{n}", f"n{n}", f"10.0.0.{n}", 2222, "ssh-ed25519 AAAA") for n in (1, 2))
V6 = Host("fd00::1", "n6", "fd00::1", 2222, "ssh-ed25519 AAAA")
FOUND: Found = {"alpha": (Path("/home/me/a b"), [ONE, TWO]), "beta": (Path("/b"), [ONE]), "empty": (Path("/e"), [])}


def test_a_node_of_two_slices_is_two_hosts() -> None:
    told = listed(FOUND)
    assert told["all"] == {"children": ["alpha", "beta", "empty"]}
    assert [told[name]["hosts"] for name in FOUND] == [["alpha.n1", "alpha.n2"], ["beta.n1"], []]
    hostvars = told["_meta"]["hostvars"]
    assert set(hostvars) == {"alpha.n1", "alpha.n2", "beta.n1"}
    assert hostvars["alpha.n1"] == {
        "ansible_host": "10.0.0.1",
        "ansible_port": 2222,
        "ansible_user": "alpha",
        "ansible_ssh_common_args": '-F "/home/me/a b"',
    }


def test_one_slice_has_its_nodes_by_address() -> None:
    assert list(of_slice("alpha", *FOUND["alpha"])["alpha"]["hosts"]) == ["10.0.0.1", "10.0.0.2"]


def test_targets_have_slice_and_node_as_labels() -> None:
    assert targets({"beta": (Path("/b"), [ONE, V6])}, 9100) == [
        {"targets": ["10.0.0.1:9100"], "labels": {"slice": "beta", "node": "n1"}},
        {"targets": ["[fd00::1]:9100"], "labels": {"slice": "beta", "node": "n6"}},
    ]
