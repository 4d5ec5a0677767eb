"""The 2003 howto from top to bottom, its commands as it prints them, its lines compared.

Each class is a section of the howto; the order of the tests is the howto's. What differs: nodes are loopback's, ssh is
given the pinned host keys that 2003 took on trust, and a slice of 64 nodes has five here.
"""

import re
import shutil
from collections.abc import Iterator

import pytest

from tests.acceptance.lab import FAILED, SOME_FAILED, Lab, Ran

pytestmark = pytest.mark.skipif(
    not (shutil.which("ssh") and shutil.which("unshare")), reason="needs openssh-client and util-linux"
)

LLP = "llp@cs.princeton.edu"
PASSWORD = "a long password of 2003"
SLICE = "oceanstore"
TWO_WEEKS = 1_209_600
WHEN = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
CONTACT = ("address=35 Olden Street", "city=Princeton", "state=NJ", "zip=08544", "country=US", "phone=609-258-6077")


class Reader:
    """Somebody with the howto in hand, an account at plc and an empty home."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        exports = lab.dslice("env").must().out
        self.env = dict(re.findall(r"^export (DSLICE_(?:PLC_URL|CA_FILE))=(\S+)$", exports, re.MULTILINE))

    def types(self, *argv: str, typed: str | None = None) -> Ran:
        return self.lab.run(*argv, user=LLP, typed=typed, **self.env)

    def ssh(self, node: str, *command: str) -> Ran:
        return self.types("ssh", "-F", "howto_config", "-i", "identity", node, "-l", SLICE, *command)


@pytest.fixture(scope="module")
def reader(lab: Lab) -> Reader:
    return Reader(lab)


@pytest.fixture(scope="module")
def nodes(lab: Lab) -> list[str]:
    """Three real nodes and two simulated ones."""
    return [*lab.real, *lab.simulated[:2]]


class TestGettingReady:
    """What needs to be done before anything else: an account, `.planetlab`, a certificate."""

    def test_an_account_at_plc(self, lab: Lab, reader: Reader) -> None:
        contact = [word for field in CONTACT for word in ("--contact", field)]
        who = ("--name", "Larry Peterson", "--site", "Princeton", "--title", "Professor")
        reader.types("dslice", "plc", "sign-up", LLP, *who, *contact, typed=f"{PASSWORD}\n{PASSWORD}\n").must()
        lab.dslice("plc", "enable", LLP).must()
        lab.dslice("plc", "make-pi", LLP).must()

    def test_plkeygen(self, reader: Reader) -> None:
        ran = reader.types("plkeygen", typed=f"{LLP}\n{PASSWORD}\n").must()
        said = ran.out + ran.err
        assert re.search(r"^(email: .*)?Certificate request sent to operator@testbed\.example\.$", said, re.MULTILINE)
        assert "Do a 'plkeygen --refresh' once you receive a reply." in said
        folder = reader.lab.home / "users" / LLP
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600

    def test_refresh_while_it_waits_says_so(self, reader: Reader) -> None:
        waiting = reader.types("plkeygen", "--refresh", typed=f"{LLP}\n").must(FAILED)
        assert "pending" in (waiting.out + waiting.err)

    def test_refresh(self, lab: Lab, reader: Reader) -> None:
        lab.dslice("plc", "approve", LLP).must()
        ran = reader.types("plkeygen", "--refresh", typed=f"{LLP}\n").must()
        assert "Certificate downloaded." in ran.out

    def test_both_had_their_mail(self, lab: Lab) -> None:
        lab.letter("operator@testbed.example", f"Certificate request from {LLP}")
        lab.letter(LLP, "Your PlanetLab certificate is ready")


class TestCreatingSlices:
    def test_getads(self, lab: Lab, reader: Reader) -> None:
        everyone = sorted([*lab.real, *lab.simulated])
        assert sorted(reader.types("svm", "getads").must().lines) == everyone
        assert sorted(reader.types("svm", "getads", "dslice.planet-lab.org").must().lines) == everyone

    def test_the_first_m_of_n_preferred_nodes_are_taken_in_order(self, lab: Lab, reader: Reader) -> None:
        two = slice_file(lab, "pref", 2, lab.simulated[5:8])
        assert sorted(reader.types("svm", "createslice", two).must().successes) == sorted(lab.simulated[5:7])
        reader.types("svm", "deleteslice", "pref").must()

    def test_createslice(self, lab: Lab, reader: Reader, nodes: list[str]) -> None:
        made = reader.types("svm", "-p", "32", "-t", "15", "createslice", slice_file(lab, SLICE, 5, nodes)).must()
        assert sorted(made.lines) == sorted(f"Success on {node}" for node in nodes)


class TestAccess:
    def test_addkey_then_ssh(self, lab: Lab, reader: Reader, nodes: list[str]) -> None:
        reader.types(
            "ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-C", "llp@gentoo", "-f", "identity"
        ).must()
        added = reader.types("svm", "addkey", SLICE, "identity.pub").must()
        assert sorted(added.lines) == sorted(f"Success on {node}" for node in nodes)
        (lab.folder / "howto_config").write_text(reader.types("svm", "ssh-config", SLICE).must().out)
        assert reader.ssh(lab.real[0], "whoami").must().lines == [SLICE]

    def test_between_nodes_without_a_password(self, lab: Lab, reader: Reader) -> None:
        assert reader.ssh(lab.real[0], "ssh", lab.real[1], "hostname").must().lines == ["n2"]

    def test_delkey(self, lab: Lab, reader: Reader, nodes: list[str]) -> None:
        removed = reader.types("svm", "delkey", SLICE, "identity.pub").must()
        assert sorted(removed.lines) == sorted(f"Success on {node}" for node in nodes)
        assert reader.ssh(lab.real[0], "true").status == 255

    def test_nukekeys(self, lab: Lab, reader: Reader, nodes: list[str]) -> None:
        reader.types("svm", "addkey", SLICE, "identity.pub").must()
        assert reader.ssh(lab.real[0], "true").status == 0
        nuked = reader.types("svm", "nukekeys", SLICE).must()
        assert sorted(nuked.lines) == sorted(f"Success on {node}" for node in nodes)
        assert reader.ssh(lab.real[0], "true").status == 255

    def test_pluserinfo_key_is_one_line_fit_for_addkey(self, lab: Lab, reader: Reader) -> None:
        reader.types("pluserinfo", "--add-key", "identity.pub").must()
        key = reader.types("pluserinfo", "--key", LLP).must()
        assert key.lines == [(lab.folder / "identity.pub").read_text().strip()]
        reader.types("svm", "addkey", SLICE, "-", typed=key.out).must()
        assert reader.ssh(lab.real[0], "true").status == 0

    def test_pluserinfo(self, lab: Lab, reader: Reader) -> None:
        key = (lab.folder / "identity.pub").read_text().strip()
        howto = """NAME: Larry Peterson/SITE_NAME: Princeton/TITLE: Professor/IS_ADM: f/IS_PI: t
        /ADDRESS: 35 Olden Street/CITY: Princeton/STATE: NJ/ZIP: 08544/COUNTRY: US/PHONE: 609-258-6077/URL:"""
        wanted = [f"EMAIL: {LLP}", *(line.strip() for line in howto.split("/")), f"SSH_PUBKEY: {key}"]
        assert reader.types("pluserinfo", LLP).must().lines == wanted


class TestManagingSlices:
    def test_renewslice(self, reader: Reader, nodes: list[str]) -> None:
        before = ends(reader)
        renewed = reader.types("svm", "renewslice", SLICE).must()
        assert sorted(renewed.successes) == sorted(nodes)
        after = ends(reader)
        assert all(after[node] > before[node] for node in nodes)

    def test_nodelist(self, reader: Reader, nodes: list[str]) -> None:
        assert sorted(reader.types("svm", "nodelist", SLICE).must().lines) == sorted(nodes)

    def test_expirations(self, reader: Reader, nodes: list[str]) -> None:
        lines = reader.types("svm", "expirations", SLICE).must().lines
        assert sorted(re.sub(WHEN, "T", line) for line in lines) == sorted(
            f"Sliver for slice {SLICE} expires T on {node}" for node in nodes
        )

    def test_clean_leaves_what_is_valid(self, reader: Reader, nodes: list[str]) -> None:
        reader.types("svm", "clean").must()
        assert sorted(reader.types("svm", "nodelist", SLICE).must().lines) == sorted(nodes)

    def test_deleteslice(self, reader: Reader, nodes: list[str]) -> None:
        deleted = reader.types("svm", "deleteslice", SLICE).must()
        assert sorted(deleted.lines) == sorted(f"Success on {node}" for node in nodes)
        assert reader.ssh(nodes[0], "true").status == 255


class TestPartialFailures:
    """Step (2): tickets not redeemed; step (3): leases without a VM. Retried by the howto's own commands."""

    @pytest.fixture(autouse=True)
    def mended(self, lab: Lab) -> Iterator[None]:
        yield
        lab.fault("all", "ok")

    def test_failures_of_step_2(self, lab: Lab, reader: Reader) -> None:
        bad, *good = lab.simulated[2:5]
        lab.fault(bad, "refuse")
        made = reader.types("svm", "-t", "2", "createslice", slice_file(lab, SLICE, 3, [bad, *good])).must(SOME_FAILED)
        assert sorted(made.successes) == sorted(good)
        assert re.search(rf"^Error on {re.escape(bad)}: .+$", made.out, re.MULTILINE)
        lab.fault(bad, "ok")
        # The shell leaves a pattern that matches no file as it is; it means all that wait.
        leased = reader.types("svm", "newleases", SLICE, f"~/.planetlab/slices/{SLICE}/tickets/*").must()
        assert leased.lines == [f"Success on {bad}"]
        made = reader.types("svm", "newvms", SLICE, f"~/.planetlab/slices/{SLICE}/leases/{bad}").must()
        assert made.lines == [f"Success on {bad}"]
        assert sorted(reader.types("svm", "nodelist", SLICE).must().lines) == sorted([bad, *good])
        reader.types("svm", "deleteslice", SLICE).must()

    def test_failures_of_step_3_with_each_step_by_hand(self, lab: Lab, reader: Reader) -> None:
        bad, *good = lab.simulated[2:5]
        tickets = reader.types("svm", "newtickets", slice_file(lab, SLICE, 3, [bad, *good])).must()
        assert sorted(tickets.lines) == sorted(f"Success on {node}" for node in [bad, *good])
        leases = reader.types("svm", "newleases", SLICE).must()
        assert sorted(leases.successes) == sorted([bad, *good])
        lab.fault(bad, "refuse")
        vms = reader.types("svm", "-t", "2", "newvms", SLICE).must(SOME_FAILED)
        assert (sorted(vms.successes), list(vms.errors)) == (sorted(good), [bad])
        lab.fault(bad, "ok")
        again = reader.types("svm", "newvms", SLICE, f"~/.planetlab/slices/{SLICE}/leases/*").must()
        assert again.lines == [f"Success on {bad}"]
        reader.types("svm", "deleteslice", SLICE).must()


def slice_file(lab: Lab, name: str, numnodes: int, ips: list[str]) -> str:
    """The howto's file, two weeks and preferred nodes."""
    text = (
        f'<?xml version="1.0" ?>\n<slice>\n<name>{name}</name>\n<numnodes>{numnodes}</numnodes>\n'
        f"<leaselen>{TWO_WEEKS}</leaselen>\n<ips>{' '.join(ips)}</ips>\n</slice>\n"
    )
    (lab.folder / f"{name}.xml").write_text(text)
    return f"{name}.xml"


def ends(reader: Reader) -> dict[str, str]:
    """Each node's end as `svm expirations` prints it."""
    said = reader.types("svm", "expirations", SLICE).must().out
    return {node: when for when, node in re.findall(rf"expires ({WHEN}) on (\S+)$", said, re.MULTILINE)}
