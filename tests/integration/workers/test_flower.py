"""What an operator sees of steps in Flower: whose they are, and which failed."""

import json
import urllib.request
from base64 import b64encode
from typing import Any

import redis

from rpc.credentials import Credentials
from tests.integration.agent.lab import slice_name
from tests.integration.tasks.farm import until
from tests.integration.workers.crew import Crew


def test_slice_node_and_operation_stand_there_and_a_step_that_failed_for_good_counts_as_failed(
    crew: Crew, owner: Credentials
) -> None:
    name = slice_name()
    crew.tickets(name, owner)
    flower = crew.daemon("flower", DSLICE_FLOWER_LISTEN="127.0.0.1:0", DSLICE_FLOWER_AUTH="me:secret")
    worker = crew.daemon("worker", DSLICE_RETRIES="0")
    broken = crew.farm.lab.population.nodes[0].row.address
    crew.farm.fault(broken, "over-capacity")
    until(lambda: bool(asked(flower.ready, "workers?json=1")["data"]))  # it listens to the worker's events
    started = crew.leases(name, owner)
    assert crew.farm.ended(started.operation).failed == 1

    def seen() -> dict[str, str]:
        tasks = [task for task in asked(flower.ready, "api/tasks").values() if task["name"] == "newleases"]
        return {task["args"]: task["state"] for task in tasks if task["state"] in ("SUCCESS", "FAILURE")}

    until(lambda: len(seen()) == 8)
    nodes = [one.row.address for one in crew.farm.lab.population.nodes]
    wanted = {f"{name} {node} operation {started.operation}": "SUCCESS" for node in nodes}
    assert seen() == {**wanted, f"{name} {broken} operation {started.operation}": "FAILURE"}
    lines = [json.loads(line) for line in worker.log.read_text().splitlines()]
    (warning,) = [line for line in lines if line["level"] == "warning" and "step failed" in line["event"]]
    assert (warning["slice"], warning["node"], warning["code"]) == (name, broken, "over-capacity")
    assert not [line for line in lines if line["level"] == "error"]


def test_a_message_carries_ids_only_beside_what_flower_shows(crew: Crew, owner: Credentials) -> None:
    name = slice_name()
    crew.tickets(name, owner)
    started = crew.leases(name, owner)
    client = redis.Redis(unix_socket_path=crew.valkey.socket)
    messages = [json.loads(message) for message in client.lrange("interactive", 0, -1)]
    client.close()
    assert len(messages) == 8
    for message in messages:
        (ids,), named, _ = json.loads(body(message))
        assert (len(ids), named) == (1, {})
        assert str(started.operation) in message["headers"]["argsrepr"]
    sealed = crew.farm.rows("SELECT ticket FROM svm.sliver WHERE ticket IS NOT NULL")
    assert sealed
    assert not [row for row in sealed for message in messages if row.ticket in json.dumps(message)]


def asked(address: str, what: str) -> dict[str, Any]:
    """JSON that Flower answers."""
    headers = {"Authorization": "Basic " + b64encode(b"me:secret").decode()}
    with urllib.request.urlopen(
        urllib.request.Request(f"http://{address}/{what}", headers=headers), timeout=10
    ) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def body(message: dict[str, Any]) -> bytes:
    from base64 import b64decode

    return b64decode(message["body"])
