"""Every daemon's own page of numbers, as Prometheus would read it: found through the list that `dslice env` names."""

import http.client
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.lab import FAILED, REAL, Lab, Ran, until

ROOT = Path(__file__).parents[2]
SLICE = "measured"


@pytest.fixture(scope="module")
def pages(lab: Lab) -> "dict[str, Page]":
    """By daemon."""
    exports = lab.dslice("env").must().out
    listed = re.search(r"^export DSLICE_METRICS_FILE=(.+)$", exports, re.MULTILINE)
    kept = re.search(r"^export DSLICE_METRICS_TOKEN_FILE=(.+)$", exports, re.MULTILINE)
    assert listed
    assert kept
    found, token = json.loads(Path(listed[1]).read_text()), Path(kept[1]).read_text()
    return {entry["labels"]["daemon"]: Page(entry["targets"][0], token) for entry in found}


@dataclass(frozen=True)
class Page:
    """Where one is, and what it wants to be shown."""

    address: str
    token: str


def get(page: Page, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(page.address, timeout=20)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {page.token}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def read(page: Page) -> dict[str, float]:
    """Sample by its name and labels as they stand on the page."""
    status, text = get(page, "/metrics")
    assert status == 200
    lines = text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def total(page: dict[str, float], *parts: str) -> float:
    """Of all samples whose name and labels hold these parts."""
    return sum(value for name, value in page.items() if all(part in name for part in parts))


def test_every_daemon_has_a_page(lab: Lab, pages: dict[str, Page]) -> None:
    assert pages.keys() == {"plc", "agent", "svmd", "worker1", "beat", "sim1", *(f"n{i + 1}" for i in range(REAL))}
    assert all(read(page) for page in pages.values())


def test_what_alerts_and_dashboard_may_ask_for_is_there(lab: Lab, pages: dict[str, Page]) -> None:
    """What docs/metrics.md lists, of which they name nothing else (tests/unit/deploy/test_watching.py)."""
    listed = set(re.findall(r"`(dslice_\w+)(?:\{[\w,]*\})?`", (ROOT / "docs/metrics.md").read_text()))
    told = "".join(get(page, "/metrics")[1] for page in pages.values())
    assert len(listed) > 20
    assert listed - set(re.findall(r"^# TYPE (dslice_\w+) ", told, re.MULTILINE)) == set()


def test_every_daemon_says_that_it_is_ready(lab: Lab, pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        if name != "sim1":
            assert lab.dslice("health", "--wait", "20", page.address).must().out == "ready\n"


def test_a_slice_moves_the_numbers(lab: Lab, pages: dict[str, Page]) -> None:
    before = {name: read(page) for name, page in pages.items()}
    lab.create(SLICE, lab.real).must()
    lab.create(SLICE, lab.real).must(FAILED)
    after = {name: read(page) for name, page in pages.items()}

    def more(daemon: str, *parts: str) -> float:
        return total(after[daemon], *parts) - total(before[daemon], *parts)

    assert more("svmd", "dslice_requests_total", 'route="/operations"', 'method="POST"', 'code=""') == 1
    assert more("svmd", "dslice_requests_total", 'route="/operations"', 'method="POST"') == 2
    assert more("svmd", "dslice_slivers{", "running") == REAL
    assert more("svmd", "dslice_leases{", 'le="+Inf"') == REAL
    assert 'dslice_leases_ending{autorenew="on"}' in after["svmd"]
    assert after["svmd"]["dslice_oldest_due_step_seconds"] < 60
    assert more("agent", "dslice_tickets_total", "issued") == REAL
    assert after["agent"]["dslice_agent_nodes_live"] >= REAL
    assert more("agent", "dslice_requests_total", 'route="/tickets"', 'status="201"') == 1
    assert more("worker1", "dslice_steps_total", 'kind="newvms"', 'outcome="done"') == REAL
    assert more("worker1", "dslice_running_seconds_count") == REAL
    assert "dslice_worker_silence_seconds" in after["worker1"]
    assert more("plc", "dslice_requests_total", 'route="/slices/{name}"', 'method="PUT"') == 1
    for node in ("n1", "n2", "n3"):
        assert more(node, "dslice_node_slots_used{") == 1
        assert more(node, "dslice_node_slivers{", "running") == 1
        assert more(node, "dslice_node_leases{", 'le="3600"') == 1
        assert more(node, "dslice_requests_total", 'route="/leases"', 'status="201"') == 1


def test_plc_and_simulated_nodes(lab: Lab, pages: dict[str, Page]) -> None:
    plc, simulated = read(pages["plc"]), read(pages["sim1"])
    assert plc["dslice_plc_crl_age_seconds"] < 300
    assert plc['dslice_plc_certificates{role="node"}'] >= REAL
    assert "dslice_plc_letters_waiting" in plc
    assert total(simulated, "dslice_node_slots{") > 0
    assert len([name for name in simulated if name.startswith("dslice_node_slots{")]) == len(lab.simulated)


def test_the_canary_comes_back_through_the_real_queue(lab: Lab, pages: dict[str, Page]) -> None:
    done = 'dslice_steps_total{kind="canary",outcome="done"}'
    until(lambda: read(pages["worker1"]).get(done, 0) >= 1)
    assert read(pages["svmd"])["dslice_canary_age_seconds"] < 600


def test_what_nobody_serves_has_one_name(lab: Lab, pages: dict[str, Page]) -> None:
    """No number of made-up paths makes a page long."""
    for number in range(3):
        assert get(pages["agent"], f"/made-up-{number}")[0] == 404
    page = read(pages["agent"])
    assert total(page, "dslice_requests_total", 'route="other"', 'status="404"') >= 3
    assert not [name for name in page if "made-up" in name]


def inside(lab: Lab, script: str) -> Ran:
    """A script of bash's in the sliver on the first node."""
    return lab.svm("ssh", "-i", "reader", SLICE, lab.real[0], f"bash -c {shlex.quote(script)}")


def test_a_sliver_reads_no_page(lab: Lab, pages: dict[str, Page]) -> None:
    """It shares the machine's loopback, so that it reaches them all."""
    lab.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "reader").must()
    lab.svm("addkey", SLICE, "reader.pub").must()
    for page in pages.values():
        place = page.address.replace(":", "/")
        script = f"exec 3<>/dev/tcp/{place}; printf 'GET /metrics HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n' >&3; cat <&3"
        said = inside(lab, script).must().out
        assert "401" in said
        assert "python_info" not in said
        assert "dslice_" not in said


def test_a_sliver_sees_no_page_of_flowers(lab: Lab) -> None:
    place = next(row["address"] for row in lab.ps() if row["name"] == "flower").replace(":", "/")
    for path in ("/", "/metrics", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks", "/api/queues/length"):
        script = f"exec 3<>/dev/tcp/{place}; printf 'GET {path} HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n' >&3; cat <&3"
        assert "401" in inside(lab, script).must().out.partition("\n")[0]


def test_a_sliver_hands_in_no_letter(lab: Lab) -> None:
    """The mailbox's socket, its only way in, is out of a sliver's reach."""
    place = lab.home / "run" / "mail.sock"
    knock = f"import socket; socket.socket(socket.AF_UNIX).connect('{place}'); print('connected')"
    assert lab.run("python3", "-c", knock).out == "connected\n"
    refused = inside(lab, f"python3 -c {shlex.quote(knock)}")
    assert refused.out == ""
    assert re.search("PermissionError|FileNotFoundError", refused.err)


def test_the_slice_ends(lab: Lab) -> None:
    lab.svm("deleteslice", SLICE).must()
