"""A worker that hears nothing any more is noticed, and ends itself, so that its supervisor starts it anew."""

import http.client
from pathlib import Path
from tempfile import TemporaryDirectory

from rpc.credentials import Credentials
from testbed.addresses import Claim, claim_port
from tests.integration.agent.lab import slice_name
from tests.integration.tasks.farm import until
from tests.integration.workers.crew import Crew
from tests.integration.workers.relay import Relay

DEAF = 70  # or a warm stop's 0: what the broker's silence leaves of one
CANARY_DONE = "SELECT 1 FROM svm.operation WHERE verb = 'canary' AND outcome = 'done'"


def page(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": "Bearer 12345678"})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_a_deaf_worker_alone_ends_itself_and_its_successor_works(crew: Crew, owner: Credentials) -> None:
    """Nothing is due, no beat runs, and its connections to the broker stay open and say nothing."""
    with TemporaryDirectory() as folder, Relay(Path(folder) / "s", crew.valkey.socket) as relay:
        broker = f"redis+socket://{folder}/s"
        deaf = crew.daemon("worker", DSLICE_BROKER_URL=broker, DSLICE_STUCK_SECONDS="2")
        until(lambda: bool(crew.farm.rows(CANARY_DONE)))  # of its own accord, in the silence of an idle system
        relay.silent.set()
        assert deaf.ended() in (0, DEAF)
        assert "this worker ends itself" in deaf.log.read_text()
    name = slice_name()
    crew.tickets(name, owner)
    crew.daemon("worker")
    started = crew.leases(name, owner)
    assert crew.farm.ended(started.operation).ok == 8


def test_a_worker_that_hears_stays_and_its_canaries_are_counted(crew: Crew) -> None:
    claim = Claim()
    port = claim_port(claim, None)
    more = {
        "DSLICE_STUCK_SECONDS": "2",
        "DSLICE_METRICS_LISTEN": f"127.0.0.1:{port}",
        "DSLICE_METRICS_TOKEN": "12345678",
    }
    try:
        worker = crew.daemon("worker", **more)
        crew.daemon("beat", DSLICE_CANARY_SECONDS="1")
        until(lambda: 'dslice_steps_total{kind="canary",outcome="done"} 3.0' in page(port))
        assert "dslice_worker_silence_seconds" in page(port)
        assert worker.process.is_alive()
    finally:
        claim.release()
