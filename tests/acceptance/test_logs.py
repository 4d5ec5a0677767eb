"""What the daemons write down of a slice's life: ids of operation, step and node where they matter, and no secret."""

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.lab import NEWCOMER, PI, Lab, until

SLICE = "logged"
REQUESTS: dict[str, str] = {}  # operation to the id that svm named
# PEM private keys, signed documents (tickets, leases, delegations), enrolment tokens.
SECRETS = re.compile(r"PRIVATE KEY|\beyJ[\w-]{8,}\.|\bdslice-(?:user|agent|node|svm|plc)-[\w.-]{20,}")


def lines(lab: Lab, pattern: str) -> Iterator[dict[str, Any]]:
    """Every line of these logs, each of which must be JSON."""
    for path in sorted((lab.home / "logs").glob(pattern)):
        for line in path.read_text().splitlines():
            yield {"file": path.stem, **json.loads(line)}


@pytest.fixture(scope="module")
def operation(lab: Lab) -> str:
    """A slice's life on real nodes; the id of its createslice."""
    file = lab.slice_file(SLICE, len(lab.real), lab.real)
    made = lab.svm("-v", "--json", "createslice", file).must()
    lab.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "logged_key").must()
    lab.svm("addkey", SLICE, "logged_key.pub").must()
    if shutil.which("ssh"):
        lab.svm("ssh", "-i", "logged_key", SLICE, lab.real[0], "true").must()
    lab.svm("rekey", SLICE).must()
    lab.svm("renewslice", SLICE).must()
    lab.svm("deleteslice", SLICE).must()
    found: str = json.loads(made.lines[-1])["operation"]
    told = re.search(rf"^operation {found}, request (\S+)$", made.err, re.MULTILINE)
    assert told, made.err
    REQUESTS[found] = told[1]
    return found


def test_one_operation_is_followed_through_all_daemons(lab: Lab, operation: str) -> None:
    def of(name: str) -> list[dict[str, Any]]:
        return [line for line in lines(lab, f"{name}.log") if line.get("operation") == operation]

    until(lambda: len(of("svmd")) == 2)  # svmd looks now and then for what has ended
    mine = [line for name in ("svmd", "worker*", "agent", "n[0-9]*") for line in of(name)]
    asked, ended = [line for line in mine if line["role"] == "svmd"]
    assert (asked["event"], ended["event"]) == ("operation asked for", "operation ended: done")
    assert (ended["ok"], ended["failed"], ended["level"]) == (len(lab.real), 0, "info")
    for line in (asked, ended):
        assert (line["verb"], line["slice"], line["by"]) == ("createslice", SLICE, PI)
    done = {(line["kind"], line["node"], line["step"]) for line in mine if line["role"] == "worker"}
    assert {(kind, node) for kind, node, _ in done} == {
        ("newtickets", None),
        *((kind, node) for kind in ("newleases", "newvms") for node in lab.real),
    }
    (tickets,) = [line for line in mine if line["role"] == "agent"]
    assert (tickets["event"], tickets["step"]) in {("POST /tickets: 201", step) for _, _, step in done}
    told = {(line["file"], line["node"], line["event"]) for line in mine if line["role"] == "nodemgr"}
    events = ("POST /leases: 201", f"PUT /slivers/{SLICE}: 200")
    assert told == {(f"n{n + 1}", f"n{n + 1}", event) for n in range(len(lab.real)) for event in events}
    assert {line["slice"] for line in mine if line["role"] == "nodemgr"} == {SLICE}
    steps = {step for _, _, step in done}
    assert all(line["step"] in steps for line in mine if line["role"] == "nodemgr")


def test_the_id_that_svm_names_stands_in_every_daemon_s_log(lab: Lab, operation: str) -> None:
    for name in ("svmd", "worker*", "agent", *(f"n{n + 1}" for n in range(len(lab.real)))):
        found = [line for line in lines(lab, f"{name}.log") if line.get("request") == REQUESTS[operation]]
        assert found, name
    refused = lab.svm("-v", "status", "nobodys")
    told = re.search(r"\(request (\S+)\)$", refused.err, re.MULTILINE)
    assert told, refused.err
    (line,) = [line for line in lines(lab, "svmd.log") if line.get("request") == told[1]]
    assert line["event"] == "GET /slices/nobodys: not-found"


def test_plc_tells_log_ins_requests_and_what_its_operator_decides(lab: Lab) -> None:
    secret = "this is no password of theirs"
    exports = dict(re.findall(r"^export (DSLICE_\w+)=(\S+)$", lab.dslice("env").must().out, re.MULTILINE))
    newcomer = {**exports, "PLANETLAB_HOME": str(lab.home / "told")}
    lab.run("plkeygen", user=NEWCOMER, typed=f"{NEWCOMER}\n{secret}\n", **newcomer)
    right = lab.dslice("password", NEWCOMER).must().out
    lab.run("plkeygen", user=NEWCOMER, typed=f"{NEWCOMER}\n{right}", **newcomer).must()
    lab.dslice("plc", "approve", NEWCOMER).must()
    lab.dslice("plc", "revoke", NEWCOMER, "--reason", "for a test").must()

    def told() -> list[str]:
        found = lines(lab, "plc.log")
        return [line["event"] for line in found if NEWCOMER in f"{line.get('account')} {line['event']}"]

    wanted = [
        "log-in failed",
        "log-in",
        "certificate asked for",
        f"approve: {NEWCOMER}",
        f"revoke: spiffe://planet-lab/user/{NEWCOMER}",
    ]
    until(lambda: all(event in told() for event in wanted))
    assert secret not in (lab.home / "logs/plc.log").read_text()


@pytest.mark.usefixtures("operation")
def test_no_log_holds_a_secret(lab: Lab) -> None:
    kept = [path.read_text().strip() for path in (lab.home / "secrets").iterdir() if path.suffix != ".json"]
    passwords = json.loads((lab.home / "secrets/passwords.json").read_text()).values()
    for path in (lab.home / "logs").glob("*.log"):
        text = path.read_text(errors="replace")
        assert not SECRETS.search(text), path
        assert not [secret for secret in (*kept, *passwords) if secret in text], path
