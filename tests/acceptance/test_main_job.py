"""The main job: a certificate, a slice on every real node, a login to each, the end (issue "one command")."""

import filecmp
import shutil

import pytest

from tests.acceptance.lab import NEWCOMER, SOME_FAILED, Lab

pytestmark = pytest.mark.skipif(
    not (shutil.which("ssh") and shutil.which("unshare")), reason="needs openssh-client and util-linux"
)

SLICE = "mainjob"
REFUSED = 255  # ssh's own status when the connection fails


def test_a_new_pi_gets_a_certificate(lab: Lab) -> None:
    password = lab.dslice("password", NEWCOMER).must().out
    asked = lab.run("plkeygen", user=NEWCOMER, typed=f"{NEWCOMER}\n{password}").must()
    assert "Certificate request sent to operator@testbed.example" in asked.out + asked.err
    assert NEWCOMER in lab.dslice("plc", "requests").must().out
    lab.dslice("plc", "approve", NEWCOMER).must()
    fetched = lab.run("plkeygen", "--refresh", user=NEWCOMER, typed=f"{NEWCOMER}\n").must()
    assert "Certificate downloaded." in fetched.out + fetched.err
    lab.letter("operator@testbed.example", f"Certificate request from {NEWCOMER}")
    lab.letter(NEWCOMER, "Your PlanetLab certificate is ready")
    assert lab.svm("getads", user=NEWCOMER).must().lines


def test_the_agent_advertises_every_node(lab: Lab) -> None:
    assert sorted(lab.svm("getads").must().lines) == sorted([*lab.real, *lab.simulated])


class TestSlice:
    """One slice from its birth to its end; the order of the tests is the story."""

    def test_create(self, lab: Lab) -> None:
        made = lab.create(SLICE, lab.real).must()
        assert sorted(made.successes) == sorted(lab.real)

    def test_create_again_says_what_to_do(self, lab: Lab) -> None:
        again = lab.create(SLICE, lab.real)
        assert again.status == 1
        assert len(again.err.strip().splitlines()) == 1
        assert again.successes == []

    def test_nodelist_and_expirations(self, lab: Lab) -> None:
        assert sorted(lab.svm("nodelist", SLICE).must().lines) == sorted(lab.real)
        ends = lab.svm("expirations", SLICE).must().lines
        assert len(ends) == len(lab.real)
        assert all(line.startswith(f"Sliver for slice {SLICE} expires 20") for line in ends)
        assert all(line.split(" UTC on ")[1] in lab.real for line in ends)

    def test_login_to_every_node(self, lab: Lab) -> None:
        lab.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key").must()
        assert sorted(lab.svm("addkey", SLICE, "key.pub").must().successes) == sorted(lab.real)
        (lab.folder / "ssh_config").write_text(lab.svm("ssh-config", SLICE).must().out)
        for number, node in enumerate(lab.real, 1):
            assert ssh(lab, node, "hostname").must().lines == [f"n{number}"]

    def test_from_one_sliver_to_another_with_the_slices_own_key(self, lab: Lab) -> None:
        first, *_, last = lab.real
        assert ssh(lab, first, "ssh", last, "hostname").must().lines == [f"n{len(lab.real)}"]

    def test_a_file_there_and_back(self, lab: Lab) -> None:
        (lab.folder / "there").write_bytes(bytes(range(256)) * 400)
        there = f"{SLICE}@{lab.real[0]}:file"
        lab.run("scp", "-q", "-F", "ssh_config", "-i", "key", "there", there).must()
        lab.run("scp", "-q", "-F", "ssh_config", "-i", "key", there, "back").must()
        assert filecmp.cmp(lab.folder / "there", lab.folder / "back", shallow=False)

    def test_svm_ssh_and_run(self, lab: Lab) -> None:
        assert lab.svm("ssh", "-i", "key", SLICE, lab.real[1], "hostname").must().lines == ["n2"]
        everywhere = lab.svm("run", "-i", "key", SLICE, "--", "echo", "same").must()
        assert "same" in everywhere.out

    def test_svm_ssh_takes_sshs_own_options(self, lab: Lab) -> None:
        assert lab.svm("ssh", "-T", "-i", "key", SLICE, "n2", "-oSetEnv=LC_TIME=C", "echo", "-n", "$LC_TIME").out == "C"
        terminal = lab.svm("ssh", "-tt", "-ikey", SLICE, "n2", "tty").must()
        assert terminal.out.startswith("/dev/pts/")

    def test_a_key_that_is_refused_and_the_cure(self, lab: Lab) -> None:
        lab.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "unknown").must()
        refused = lab.svm("ssh", "-i", "unknown", SLICE, "n2", "true").must(255)
        assert f"Let a key in with: svm addkey {SLICE} KEYFILE" in refused.err
        assert "Let a key in" not in lab.svm("ssh", "-i", "key", SLICE, "n2", "exit", "255").must(255).err

    def test_cp_to_all_nodes_and_from_them(self, lab: Lab) -> None:
        (lab.folder / "sent").mkdir()
        (lab.folder / "sent" / "a file").write_bytes(bytes(range(256)) * 400)
        sent = lab.svm("cp", "-i", "key", "sent", "key.pub", f"{SLICE}:").must()
        assert sorted(sent.successes) == sorted(lab.real)
        fetched = lab.svm("cp", "-i", "key", f"{SLICE}:sent", f"{SLICE}:/etc/hostname", "fetched").must()
        assert sorted(fetched.successes) == sorted(lab.real)
        for number, node in enumerate(lab.real, 1):
            assert (lab.folder / "fetched" / node / "hostname").read_text() == f"n{number}\n"
            assert filecmp.cmp(lab.folder / "sent/a file", lab.folder / "fetched" / node / "sent/a file", shallow=False)
        missing = lab.svm("cp", "-i", "key", f"{SLICE}:nowhere", "fetched").must(1)
        assert sorted(missing.errors) == sorted(lab.real)
        assert "No such file" in missing.errors[lab.real[0]]
        refused = lab.svm("cp", "-i", "unknown", "key.pub", f"{SLICE}:").must(1)
        assert f"svm addkey {SLICE} KEYFILE" in refused.err

    def test_renew(self, lab: Lab) -> None:
        before = lab.svm("expirations", SLICE).must().lines
        assert sorted(lab.svm("renewslice", SLICE).must().successes) == sorted(lab.real)
        after = lab.svm("expirations", SLICE).must().lines
        assert sorted(before) < sorted(after)

    def test_a_removed_key_no_longer_opens(self, lab: Lab) -> None:
        lab.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "other").must()
        lab.svm("addkey", SLICE, "other.pub").must()
        assert sorted(lab.svm("delkey", SLICE, "key.pub").must().successes) == sorted(lab.real)
        ssh(lab, lab.real[0], "true").must(REFUSED)
        lab.run("ssh", "-F", "ssh_config", "-i", "other", "-l", SLICE, lab.real[0], "true").must()
        lab.svm("nukekeys", SLICE).must()
        lab.run("ssh", "-F", "ssh_config", "-i", "other", "-l", SLICE, lab.real[0], "true").must(REFUSED)

    def test_delete(self, lab: Lab) -> None:
        lab.svm("addkey", SLICE, "key.pub").must()
        assert sorted(lab.svm("deleteslice", SLICE).must().successes) == sorted(lab.real)
        for node in lab.real:
            ssh(lab, node, "true").must(REFUSED)
        assert lab.svm("nodelist", SLICE).status == 1
        assert "ok" in lab.dslice("doctor").must().out


def test_a_node_manager_that_restarts_keeps_its_slivers(lab: Lab) -> None:
    name, node = "survivor", lab.real[0]
    lab.create(name, [node]).must()
    lab.svm("addkey", name, "key.pub").must()
    (lab.folder / "survivor_config").write_text(lab.svm("ssh-config", name).must().out)
    login = ("ssh", "-F", "survivor_config", "-i", "key", "-l", name, node)
    lab.run(*login, "touch", "kept").must()
    lab.dslice("stop", "n1").must()
    failed = lab.svm("-t", "2", "renewslice", name)
    assert list(failed.errors) == [node]
    assert failed.status != SOME_FAILED
    lab.dslice("start", "n1").must()
    lab.run(*login, "ls").must()
    assert lab.run(*login, "ls").must().lines == ["kept"]
    lab.svm("deleteslice", name).must()


def ssh(lab: Lab, node: str, *command: str):  # type: ignore[no-untyped-def]
    return lab.run("ssh", "-F", "ssh_config", "-i", "key", "-l", SLICE, node, *command)
