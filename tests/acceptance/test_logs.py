"""What the daemons write down of a slice's life: ids of operation, step and node where they matter, and no secret."""

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.lab import PI, Lab

SLICE = "logged"
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
    made = lab.svm("--json", "createslice", file).must()
    lab.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "logged_key").must()
    lab.svm("addkey", SLICE, "logged_key.pub").must()
    if shutil.which("ssh"):
        lab.svm("ssh", "-i", "logged_key", SLICE, lab.real[0], "true").must()
    lab.svm("rekey", SLICE).must()
    lab.svm("renewslice", SLICE).must()
    lab.svm("deleteslice", SLICE).must()
    found: str = json.loads(made.lines[-1])["operation"]
    return found


def test_one_operation_is_followed_through_all_daemons(lab: Lab, operation: str) -> None:
    found = [line for name in ("svmd", "worker*", "agent", "n[0-9]*") for line in lines(lab, f"{name}.log")]
    mine = [line for line in found if line.get("operation") == operation]
    (asked,) = [line for line in mine if line["role"] == "svmd"]
    assert (asked["event"], asked["verb"], asked["slice"], asked["by"]) == (
        "operation asked for",
        "createslice",
        SLICE,
        PI,
    )
    done = {(line["kind"], line["node"], line["step"]) for line in mine if line["role"] == "worker"}
    assert {(kind, node) for kind, node, _ in done} == {
        ("newtickets", None),
        *((kind, node) for kind in ("newleases", "newvms") for node in lab.real),
    }
    (tickets,) = [line for line in mine if line["role"] == "agent"]
    assert (tickets["event"], tickets["step"]) in {("POST /tickets: 201", step) for _, _, step in done}
    told = {(line["file"], line["node"], line["event"]) for line in mine if line["role"] == "nodemgr"}
    events = ("POST /leases: 201", "PUT /slivers/{slice}: 200")
    assert told == {(f"n{n + 1}", f"n{n + 1}", event) for n in range(len(lab.real)) for event in events}
    steps = {step for _, _, step in done}
    assert all(line["step"] in steps for line in mine if line["role"] == "nodemgr")


@pytest.mark.usefixtures("operation")
def test_no_log_holds_a_secret(lab: Lab) -> None:
    kept = [path.read_text().strip() for path in (lab.home / "secrets").iterdir() if path.suffix != ".json"]
    passwords = json.loads((lab.home / "secrets/passwords.json").read_text()).values()
    for path in (lab.home / "logs").glob("*.log"):
        text = path.read_text(errors="replace")
        assert not SECRETS.search(text), path
        assert not [secret for secret in (*kept, *passwords) if secret in text], path
