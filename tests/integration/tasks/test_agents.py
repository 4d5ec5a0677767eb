"""Slices whose tickets come from two agents, both real, each with nodes of its own."""

from collections.abc import Iterator

import pytest

from lifecycle.operations import Verb
from models.database import migrate
from models.states import Outcome
from plc.client import PLC, AgentEntry, Directory
from rpc.credentials import Credentials
from testbed.embedded import Postgres
from tests.integration.agent.lab import AGENT, Lab, slice_name
from tests.integration.tasks.farm import Farm
from trust.identity import Identity, Role

OTHER = Identity(Role.AGENT, "other")


@pytest.fixture(scope="module")
def other(lab: Lab, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The second agent, with three nodes, at the same plc."""
    postgres.create_database("other_agent")
    url = postgres.url("agent", "other_agent")
    migrate(url, "agent")
    second = Lab(tmp_path_factory.mktemp("other"), lab.plc_url, lab.bootstrap, url, identity=OTHER)
    with second.running(3):
        yield second


@pytest.fixture
def both(farm: Farm, lab: Lab, other: Lab) -> Iterator[Farm]:
    """A worker that knows both agents."""
    context = farm.process.worker_context
    before = context.directory
    entries = tuple(AgentEntry(each.identity.name, vars(each)["agent_url"]) for each in (lab, other))
    context.directory = lambda: Directory(PLC, "", svmd=None, svm=None, agents=entries)
    yield farm
    farm.clear()
    context.directory = before


def agents_of(farm: Farm, name: str) -> dict[str, str]:
    """Node to the agent whose ticket it is."""
    query = "SELECT v.node, v.agent FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice WHERE x.name = :n"
    return {row.node: row.agent for row in farm.rows(query, n=name)}


def test_what_the_first_lacks_the_second_gives(both: Farm, owner: Credentials, lab: Lab, other: Lab) -> None:
    name = slice_name()
    made = both.run(Verb.CREATESLICE, name, owner, numnodes=10, agents=(AGENT.name, OTHER.name))
    assert (made.outcome, made.ok) == (Outcome.DONE, 10)
    found = agents_of(both, name)
    assert {node for node, agent in found.items() if agent == AGENT.name} == set(lab.addresses())
    theirs = {node for node, agent in found.items() if agent == OTHER.name}
    assert theirs < set(other.addresses())
    assert len(theirs) == 2
    assert both.run(Verb.RENEWSLICE, name, owner).ok == 10
    assert both.run(Verb.DELETESLICE, name, owner).ok == 10
    # Both agents gave the name back: it is anybody's.
    assert both.run(Verb.NEWTICKETS, name, lab.user(), numnodes=1, agents=(OTHER.name,)).ok == 1


def test_one_agent_by_name(both: Farm, owner: Credentials, other: Lab) -> None:
    name = slice_name()
    assert both.run(Verb.CREATESLICE, name, owner, numnodes=2, agents=(OTHER.name,)).ok == 2
    assert set(agents_of(both, name)) < set(other.addresses())


def test_too_few_of_both_takes_nothing_of_either(both: Farm, owner: Credentials) -> None:
    name = slice_name()
    refused = both.run(Verb.CREATESLICE, name, owner, numnodes=12, agents=(AGENT.name, OTHER.name))
    assert (refused.outcome, refused.code) == (Outcome.FAILED, "too-few-nodes")
    assert agents_of(both, name) == {}
    # All places are free: the tickets that the first agent had given went back.
    assert both.run(Verb.CREATESLICE, name, owner, numnodes=11, agents=(OTHER.name, AGENT.name)).ok == 11
