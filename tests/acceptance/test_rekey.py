"""A slice's own key pair, changed while its VMs run; seen with the real OpenSSH client, outside and inside."""

import re
import shutil

import pytest

from tests.acceptance.lab import FAILED, Lab, Ran

pytestmark = pytest.mark.skipif(
    not (shutil.which("ssh") and shutil.which("unshare")), reason="needs openssh-client and util-linux"
)

SLICE = "rekeyed"
REFUSED = 255  # ssh's own status when the connection fails


def ssh(lab: Lab, key: str, node: str, *command: str) -> Ran:
    only = ("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none")
    return lab.run("ssh", "-F", "rekey_config", *only, "-i", key, "-l", SLICE, node, *command)


def hop(lab: Lab, first: str, last: str) -> Ran:
    """From one VM to another, with the slice's own key and nothing else."""
    return ssh(lab, "rekey_key", first, "ssh", last, "hostname")


def steal(lab: Lab, node: str, name: str) -> str:
    """The private key as anybody in the VM reads it."""
    config = ssh(lab, "rekey_key", node, "cat /etc/ssh/ssh_config /etc/ssh/ssh_config.d/*; true").must().out
    place = re.search(r"IdentityFile (/\S+)", config)
    assert place
    path = lab.folder / name
    path.touch(0o600)
    path.write_text(ssh(lab, "rekey_key", node, f"cat {place[1]}").must().out)
    return name


def test_the_old_pair_opens_nothing_and_the_new_one_everything(lab: Lab) -> None:
    first, *_, last = lab.real
    lab.create(SLICE, lab.real).must()
    lab.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "rekey_key").must()
    lab.svm("addkey", SLICE, "rekey_key.pub").must()
    (lab.folder / "rekey_config").write_text(lab.svm("ssh-config", SLICE).must().out)
    hop(lab, first, last).must()
    old = steal(lab, first, "old_pair")
    ssh(lab, old, last, "true").must()

    assert sorted(lab.svm("rekey", SLICE).must().successes) == sorted(lab.real)

    new = steal(lab, first, "new_pair")
    for node in lab.real:
        refused = ssh(lab, old, node, "true").must(REFUSED)
        assert "Permission denied" in refused.err
        ssh(lab, new, node, "true").must()
        ssh(lab, "rekey_key", node, "true").must()  # users' keys stay
    assert hop(lab, first, last).must().lines == [f"n{len(lab.real)}"]
    assert hop(lab, last, first).must().lines == ["n1"]
    assert steal(lab, last, "same_pair")
    assert (lab.folder / "same_pair").read_text() == (lab.folder / "new_pair").read_text()


def test_it_is_gone_with_its_slice(lab: Lab) -> None:
    lab.svm("deleteslice", SLICE).must()
    assert "no slice rekeyed" in lab.svm("rekey", SLICE).must(FAILED).err
