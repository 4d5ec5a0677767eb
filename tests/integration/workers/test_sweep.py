"""A message that is lost while everything runs is sent again by the sweep, and by nothing else."""

from models.states import Verb
from rpc.credentials import Credentials
from tests.integration.agent.lab import slice_name
from tests.integration.tasks.farm import until
from tests.integration.workers.crew import Crew


def test_messages_lost_while_all_are_connected(crew: Crew, owner: Credentials) -> None:
    name = slice_name()
    crew.tickets(name, owner)
    worker = crew.daemon("worker")
    until(lambda: "looked for lost steps" in worker.log.read_text())
    started = crew.farm.start(Verb.NEWLEASES, name, owner, publish=False)
    crew.daemon("beat")
    assert crew.farm.ended(started.operation).ok == 8
    crew.all_leased_once(name)
