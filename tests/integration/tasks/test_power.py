"""stop, start, restart and reset: whatever becomes of answers, each is done once and the table learns of it."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, ClassVar
from uuid import UUID

import pytest

from lifecycle.operations import Verb
from models.states import Outcome
from nodemgr.api import _Body
from nodemgr.liveness import end_sliver
from nodemgr.slivers.drivers.simulated import SimulatedDriver
from nodemgr.storage.power import Power
from rpc.credentials import Credentials
from tasks.reconcile import reconcile_all
from testbed.simulation.population import SimulatedNode
from tests.integration.agent.lab import slice_name
from tests.integration.tasks.farm import Farm, until
from trust.documents import DelegationKind
from trust.sshkeys import new_ssh_key_pair

KEYS = [new_ssh_key_pair("one")[1], new_ssh_key_pair("two")[1]]
ROW = """SELECT v.state, v.died_at, v.last_error, v.key_generation, v.pair_generation, v.generation
         FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice WHERE x.name = :n AND v.node = :node"""

Told = Callable[[], Counter[str]]


@pytest.fixture(autouse=True)
def _no_findings(farm: Farm) -> Iterator[None]:
    yield
    farm.execute("DELETE FROM svm.finding")
    farm.execute("DELETE FROM svm.node")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What drivers were told so far."""
    found: Counter[str] = Counter()
    for name in ("start", "stop", "reset"):
        before = getattr(SimulatedDriver, name)

        async def call(driver: SimulatedDriver, slice: str, name: str = name, before: Callable = before) -> None:  # type: ignore[type-arg]
            found[name] += 1
            await before(driver, slice)

        monkeypatch.setattr(SimulatedDriver, name, call)
    return found.copy


@pytest.fixture
def made(farm: Farm, owner: Credentials) -> tuple[str, str]:
    """A slice with a key on four nodes, and its first node."""
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    farm.run(Verb.ADDKEY, name, owner, keys=KEYS[:1])
    return name, next(iter(farm.states(name)))


def site(farm: Farm, node: str) -> SimulatedNode:
    return farm.lab.node(node)


def row(farm: Farm, name: str, node: str) -> Any:
    (found,) = farm.rows(ROW, n=name, node=node)
    return found


def reconciled(farm: Farm) -> None:
    """A whole round, of nodes whose rows have settled."""
    farm.execute("UPDATE svm.sliver SET changed_at = now() - interval '1 minute'")
    reconcile_all()
    until(lambda: not farm.rows("SELECT 1 FROM svm.operation WHERE verb = 'reconcile' AND ended_at IS NULL"))


def died(farm: Farm, name: str, node: str) -> None:
    """The VM there ends by itself, and its node sees it."""
    farm.lab.run(end_sliver(site(farm, node).node, name, "ended by itself"))


def test_all_stop_and_start_again_with_their_keys(farm: Farm, owner: Credentials, made: tuple[str, str]) -> None:
    name, node = made
    assert farm.run(Verb.STOP, name, owner).ok == 4
    assert set(farm.states(name).values()) == {"stopped"}
    assert set(farm.on_nodes(name).values()) == {"leased"}
    assert [(item.has_vm, bool(item.stopped and item.stopped.ordered)) for item in farm.inventory(node)] == [
        (False, True)
    ]
    assert farm.run(Verb.START, name, owner).ok == 4
    assert set(farm.states(name).values()) == {"running"}
    assert set(farm.on_nodes(name).values()) == {"running"}
    assert farm.run(Verb.START, name, owner).ok == 4


def test_only_the_nodes_that_are_named(farm: Farm, owner: Credentials, made: tuple[str, str]) -> None:
    name, node = made
    assert farm.run(Verb.STOP, name, owner, nodes=(node,)).ok == 1
    assert farm.states(name) == {other: "stopped" if other == node else "running" for other in farm.states(name)}


def test_stopped_it_is_renewed_and_has_its_keys_changed(farm: Farm, owner: Credentials, made: tuple[str, str]) -> None:
    name, node = made
    farm.run(Verb.STOP, name, owner)
    assert farm.run(Verb.RENEWSLICE, name, owner).ok == 4
    assert farm.run(Verb.ADDKEY, name, owner, keys=KEYS).ok == 4
    assert farm.run(Verb.DELKEY, name, owner, keys=KEYS[:1]).ok == 4
    lease = site(farm, node).node.store.lease(name)
    assert lease
    assert (lease.generation, len(lease.keys), lease.state) == (2, 1, "leased")
    assert set(farm.states(name).values()) == {"stopped"}


def test_a_pair_that_changed_meanwhile_comes_with_the_start(
    farm: Farm, owner: Credentials, made: tuple[str, str]
) -> None:
    name, node = made
    farm.run(Verb.STOP, name, owner, nodes=(node,))
    assert farm.run(Verb.REKEY, name, owner).ok == 3
    assert farm.run(Verb.START, name, owner, nodes=(node,)).ok == 1
    pairs = {lease.slice_key for one in farm.lab.population.nodes if (lease := one.node.store.lease(name))}
    assert len(pairs) == 1
    assert row(farm, name, node).pair_generation == 1


@pytest.mark.parametrize("verb", [Verb.RESTART, Verb.RESET])
def test_a_lost_answer_is_no_second_time(
    farm: Farm, owner: Credentials, made: tuple[str, str], told: Told, verb: Verb
) -> None:
    """Three tries, of which the node hears each and answers none that arrives; then the user asks anew."""
    name, node = made
    farm.fault(node, "lose-answer")
    assert farm.run(verb, name, owner, nodes=(node,)).outcome is Outcome.FAILED
    what = "stop" if verb is Verb.RESTART else "reset"
    assert told()[what] == 1
    farm.fault(node, "ok")
    assert farm.run(verb, name, owner, nodes=(node,)).ok == 1
    assert told()[what] == 2
    assert farm.states(name)[node] == "running"


def test_a_stop_whose_answer_is_lost_is_learned_of(farm: Farm, owner: Credentials, made: tuple[str, str]) -> None:
    name, node = made
    farm.fault(node, "lose-answer")
    farm.run(Verb.STOP, name, owner, nodes=(node,))
    assert farm.states(name)[node] == "running"
    farm.fault(node, "ok")
    reconciled(farm)
    found = row(farm, name, node)
    assert (found.state, found.died_at) == ("stopped", None)


def test_a_start_whose_answer_is_lost_is_learned_of(farm: Farm, owner: Credentials, made: tuple[str, str]) -> None:
    name, node = made
    farm.run(Verb.STOP, name, owner)
    farm.fault(node, "lose-answer")
    farm.run(Verb.START, name, owner, nodes=(node,))
    assert farm.states(name)[node] == "stopped"
    farm.fault(node, "ok")
    reconciled(farm)
    assert farm.states(name)[node] == "running"


def test_an_end_is_told_with_when_and_why(farm: Farm, owner: Credentials, made: tuple[str, str]) -> None:
    name, node = made
    died(farm, name, node)
    store = site(farm, node).node.store
    (since,) = [store.power(lease.slice_id).since for lease in store.leases() if lease.slice == name]
    assert since
    reconciled(farm)
    found = row(farm, name, node)
    assert (found.state, found.died_at) == ("stopped", since)
    assert f"its VM ended by itself, {since:%Y-%m-%d %H:%M:%S} UTC" == found.last_error
    assert farm.run(Verb.START, name, owner, nodes=(node,)).ok == 1
    found = row(farm, name, node)
    assert (found.state, found.died_at, found.last_error) == ("running", None, None)


def test_a_node_that_does_not_know_why_is_believed(farm: Farm, owner: Credentials, made: tuple[str, str]) -> None:
    """An older node only says that there is no VM."""
    name, node = made
    died(farm, name, node)
    store = site(farm, node).node.store
    lease = store.lease(name)
    assert lease
    farm.lab.loop.call_soon_threadsafe(store.set_power, lease.slice_id, Power())
    until(lambda: store.power(lease.slice_id) == Power())
    reconciled(farm)
    found = row(farm, name, node)
    assert found.state == "stopped"
    assert found.died_at is not None


def test_start_finds_one_that_ended_a_moment_ago(farm: Farm, owner: Credentials, made: tuple[str, str]) -> None:
    """svmd does not know yet."""
    name, node = made
    died(farm, name, node)
    assert farm.run(Verb.START, name, owner).ok == 4
    assert farm.on_nodes(name)[node] == "running"


def test_a_slice_that_heals_starts_what_has_ended_and_not_what_was_stopped(
    farm: Farm, owner: Credentials, made: tuple[str, str]
) -> None:
    name, node = made
    farm.run(Verb.STOP, name, owner, nodes=tuple(farm.states(name))[1:2])
    farm.run(Verb.HEAL, name, owner, heal=True, standing=farm.given(owner, name, DelegationKind.STANDING, heal=True))
    died(farm, name, node)
    reconciled(farm)
    assert farm.states(name)[node] == "stopped"
    for _ in range(2):
        reconcile_all()
        until(lambda: not farm.rows("SELECT 1 FROM svm.operation WHERE ended_at IS NULL"))
    assert list(farm.states(name).values()) == ["running", "stopped", "running", "running"]
    assert farm.on_nodes(name)[node] == "running"
    asked = farm.rows("SELECT actor FROM svm.operation WHERE slice_name = :n AND verb = 'start'", n=name)
    assert asked == [("beat",)]
    died(farm, name, node)
    for _ in range(2):
        reconciled(farm)
    assert farm.states(name)[node] == "stopped"  # it was only just started by itself: not again so soon


def test_a_slice_grows_and_shrinks_by_its_file(farm: Farm, owner: Credentials, made: tuple[str, str]) -> None:
    name, node = made
    assert farm.run(Verb.CREATESLICE, name, owner, numnodes=6).ok == 2
    assert list(farm.states(name).values()) == ["running"] * 6
    farm.run(Verb.STOP, name, owner, nodes=(node,))
    kept = list(farm.states(name))[1:3]
    gone = farm.run(Verb.CREATESLICE, name, owner, numnodes=2)
    assert (gone.outcome, gone.ok) == (Outcome.DONE, 4)
    assert [one for one, state in farm.states(name).items() if state == "running"] == kept
    assert sorted(farm.on_nodes(name)) == sorted(kept)
    assert farm.rows("SELECT numnodes FROM svm.slice WHERE name = :n", n=name) == [(2,)]


def test_nodes_that_are_given_back_open_the_others_no_more(
    farm: Farm, owner: Credentials, made: tuple[str, str]
) -> None:
    name, node = made
    (before,) = farm.rows("SELECT public_key FROM svm.slice WHERE name = :n AND state = 'open'", n=name)
    assert farm.run(Verb.SHRINK, name, owner, nodes=(node,)).ok == 1
    assert node not in farm.on_nodes(name)
    reconcile_all()
    until(lambda: not farm.rows("SELECT 1 FROM svm.operation WHERE ended_at IS NULL"))
    (after,) = farm.rows("SELECT public_key FROM svm.slice WHERE name = :n AND state = 'open'", n=name)
    assert before != after
    assert {lease.slice_key for one in farm.lab.population.nodes if (lease := one.node.store.lease(name))} == {after[0]}


def test_leases_get_another_length_at_once_and_at_nodes_that_were_away_with_the_next(
    farm: Farm, owner: Credentials, made: tuple[str, str]
) -> None:
    name, node = made
    farm.fault(node, "refuse")
    assert farm.run(Verb.CREATESLICE, name, owner, leaselen=7200).ok == 3
    farm.fault(node, "ok")
    lengths = {
        one.row.address: lease.leaselen for one in farm.lab.population.nodes if (lease := one.node.store.lease(name))
    }
    assert lengths.pop(node) == 3600
    assert set(lengths.values()) == {7200}
    assert farm.run(Verb.RENEWSLICE, name, owner).ok == 4
    lease = site(farm, node).node.store.lease(name)
    assert lease
    assert lease.leaselen == 7200


class OlderBody(_Body):
    """As a node read a renewal before leases could get another length."""

    slice_id: UUID
    from_generation: int
    leaselen: ClassVar[int | None] = None


@pytest.mark.parametrize("leaselen", [1800, 7200])
def test_older_nodes_renew_with_the_length_that_they_know(
    farm: Farm, owner: Credentials, made: tuple[str, str], monkeypatch: pytest.MonkeyPatch, leaselen: int
) -> None:
    name, node = made
    monkeypatch.setattr("nodemgr.api.RenewBody", OlderBody)
    assert farm.run(Verb.CREATESLICE, name, owner, leaselen=leaselen).ok == 4
    assert farm.run(Verb.RENEWSLICE, name, owner).ok == 4
    lease = site(farm, node).node.store.lease(name)
    assert lease
    assert (lease.leaselen, lease.generation) == (3600, 3)
