"""What could not be published or claimed while the broker or the database was away begins when they are back."""

from models.states import Verb
from rpc.credentials import Credentials
from tasks.publish import publish
from tests.integration.agent.lab import slice_name
from tests.integration.tasks.farm import until
from tests.integration.workers.crew import Crew


def test_what_was_asked_for_while_the_broker_was_away_begins_when_it_is_back(crew: Crew, owner: Credentials) -> None:
    """Nobody could publish it, no beat runs that would sweep, and a message counts as lost only after an hour."""
    name = slice_name()
    crew.tickets(name, owner)
    worker = crew.daemon("worker", DSLICE_PUBLISH_AGAIN_SECONDS="3600")
    crew.valkey.stop()
    started = crew.leases(name, owner)
    until(lambda: "Cannot connect" in worker.log.read_text())
    crew.valkey.start()
    assert crew.farm.ended(started.operation).ok == 8
    crew.all_leased_once(name)


def test_messages_that_came_while_the_database_was_away_are_not_left_to_the_sweep(
    crew: Crew, owner: Credentials
) -> None:
    name = slice_name()
    crew.tickets(name, owner)
    worker = crew.daemon("worker", DSLICE_PUBLISH_AGAIN_SECONDS="3600")
    until(lambda: "looked for lost steps" in worker.log.read_text())
    started = crew.farm.start(Verb.NEWLEASES, name, owner, publish=False)
    with crew.without_database():
        publish(started.publish)
        until(lambda: worker.log.read_text().count("no claim on steps") == 8)
    assert crew.farm.ended(started.operation).ok == 8
    crew.all_leased_once(name)
