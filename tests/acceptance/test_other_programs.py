"""Ansible and Prometheus find the nodes of slices by what svm prints."""

import json
import shutil

import pytest

from tests.acceptance.lab import BIN, Lab

pytestmark = pytest.mark.skipif(not (BIN / "ansible").exists(), reason="needs ansible-core, of the extra dev")
# Or else its connections stay for a minute, and the testbed has to wait for them.
ANSIBLE = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=no", "ANSIBLE_FORKS": "3", "ANSIBLE_NOCOLOR": "1"}


@pytest.fixture
def slices(lab: Lab) -> list[str]:
    """Two slices that share a node, and a key that opens them."""
    key = lab.key("id_ansible")
    for name, nodes in (("alpha", lab.real[:2]), ("beta", lab.real[:1])):
        lab.create(name, nodes).must()
        lab.svm("addkey", name, f"{key}.pub").must()
    return ["alpha", "beta"]


@pytest.mark.timeout(300)
@pytest.mark.skipif(not shutil.which("ssh"), reason="needs openssh-client")
def test_ansible_reaches_every_node(lab: Lab, slices: list[str]) -> None:
    program = lab.folder / "slices"
    program.write_text('#!/bin/sh\nexec svm inventory "$@"\n')
    program.chmod(0o755)
    hosts = {"alpha.n1", "alpha.n2", "beta.n1"}
    ping = ["ansible", "alpha:beta", "-i", "./slices", "-m", "ping", "--private-key", "id_ansible", "-o"]
    ran = lab.run(*ping, **ANSIBLE).must()
    assert {line.split()[0] for line in ran.lines if '"ping": "pong"' in line} == hosts, ran
    ran = lab.run("ansible-inventory", "-i", "./slices", "--graph").must()
    assert {word.strip("|- ") for word in ran.lines} >= {f"@{name}:" for name in slices} | hosts
    told = json.loads(lab.svm("inventory", "--host", "beta.n1").must().out)
    assert (told["ansible_host"], told["ansible_user"]) == (lab.real[0], "beta")
    assert json.loads(lab.svm("inventory", "--host", "nobody").must().out) == {}
    # And from the file of one slice.
    (lab.folder / "alpha.json").write_text(lab.svm("inventory", "alpha").must().out)
    ping[1:4] = ["all", "-i", "alpha.json"]
    ran = lab.run(*ping, **ANSIBLE).must()
    assert {line.split()[0] for line in ran.lines if '"ping": "pong"' in line} == set(lab.real[:2]), ran
    found = json.loads(lab.svm("targets", "--port", "8000").must().out)
    # Beside what other tests of this testbed have.
    assert [(each["targets"], each["labels"]["slice"]) for each in found if each["labels"]["slice"] in slices] == [
        ([f"{lab.real[0]}:8000"], "alpha"),
        ([f"{lab.real[1]}:8000"], "alpha"),
        ([f"{lab.real[0]}:8000"], "beta"),
    ]
    for name in slices:
        lab.svm("deleteslice", name).must()
