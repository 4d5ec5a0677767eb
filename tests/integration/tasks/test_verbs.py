"""Every verb against real agents and nodes, through a real queue and a real worker."""

from datetime import UTC, datetime
from typing import Any

from lifecycle.operations import Verb
from models.states import Outcome
from rpc.credentials import Credentials
from tests.integration.agent.lab import Lab, slice_name
from tests.integration.tasks.farm import Farm
from trust.documents import DelegationKind
from trust.sshkeys import new_ssh_key_pair

KEY = new_ssh_key_pair("one")[1]


def test_createslice_to_deleteslice(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    created = farm.run(Verb.CREATESLICE, name, owner)
    assert (created.outcome, created.ok, created.failed) == (Outcome.DONE, 4, 0)
    assert set(farm.states(name).values()) == {"running"}
    assert farm.on_nodes(name) == farm.states(name)
    deleted = farm.run(Verb.DELETESLICE, name, owner)
    assert (deleted.outcome, deleted.ok) == (Outcome.DONE, 4)
    assert farm.on_nodes(name) == {}
    assert farm.rows("SELECT state, released_at IS NULL AS kept FROM svm.slice WHERE name = :n", n=name) == [
        ("deleted", False)
    ]


def test_the_low_level_verbs(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    assert farm.run(Verb.NEWTICKETS, name, owner).ok == 4
    assert farm.on_nodes(name) == {}
    assert farm.run(Verb.NEWLEASES, name, owner).ok == 4
    assert set(farm.on_nodes(name).values()) == {"leased"}
    assert farm.run(Verb.NEWVMS, name, owner).ok == 4
    assert set(farm.on_nodes(name).values()) == {"running"}
    again = farm.run(Verb.NEWLEASES, name, owner, nodes=tuple(farm.states(name)))
    assert (again.outcome, again.ok) == (Outcome.DONE, 4)


def test_keys(farm: Farm, owner: Credentials, lab: Lab) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    for verb, count in ((Verb.ADDKEY, 1), (Verb.DELKEY, 0), (Verb.ADDKEY, 1), (Verb.NUKEKEYS, 0)):
        farm.run(verb, name, owner, keys=() if verb is Verb.NUKEKEYS else (KEY,))
        leases = [one.node.store.lease(name) for one in lab.population.nodes]
        assert [len(lease.keys) for lease in leases if lease] == [count] * 4
    assert farm.rows(
        "SELECT DISTINCT v.key_generation FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice WHERE x.name = :n",
        n=name,
    ) == [(4,)]


def test_renewslice_tells_old_and_new_ends(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    renewed = farm.run(Verb.RENEWSLICE, name, owner)
    assert renewed.ok == 4
    for event in farm.events(renewed.id):
        old, new = (datetime.fromisoformat(str(event.detail[what])) for what in ("old", "new"))
        assert datetime.now(UTC) < old <= new
        assert event.detail["short"] is False
    assert farm.rows(
        "SELECT DISTINCT v.generation FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice WHERE x.name = :n", n=name
    ) == [(2,)]


def test_the_slices_key_pair_is_sealed_and_whole(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    ((row, sealed, public),) = farm.rows("SELECT id, sealed_key, public_key FROM svm.slice WHERE name = :n", n=name)
    assert b"PRIVATE" not in sealed
    assert "PRIVATE KEY" in farm.process.worker_context.seal.open(row, sealed)
    assert public.startswith("ssh-ed25519 ")


def test_preferred_addresses_in_their_order(farm: Farm, owner: Credentials, lab: Lab) -> None:
    name = slice_name()
    wanted = tuple(reversed(lab.addresses()[:3]))
    farm.run(Verb.CREATESLICE, name, owner, numnodes=2, ips=wanted)
    assert list(farm.states(name)) == list(wanted[:2])


def test_too_few_nodes_take_nothing(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    refused = farm.run(Verb.CREATESLICE, name, owner, numnodes=9)
    assert (refused.outcome, refused.code) == (Outcome.FAILED, "too-few-nodes")
    assert farm.states(name) == {}
    assert farm.run(Verb.CREATESLICE, name, owner, numnodes=2).ok == 2


def test_deleting_a_slice_with_unused_tickets_gives_them_back(farm: Farm, owner: Credentials, lab: Lab) -> None:
    name = slice_name()
    farm.run(Verb.NEWTICKETS, name, owner, numnodes=8)
    for address in lab.addresses():
        farm.fault(address, "blackhole")  # the agent alone is asked
    assert farm.run(Verb.DELETESLICE, name, owner).ok == 8


def test_autorenew_renews_what_is_due(farm: Farm, owner: Credentials) -> None:
    from tasks.autorenew import autorenew

    name = slice_name()
    standing = farm.given(owner, name, DelegationKind.STANDING)
    farm.run(Verb.CREATESLICE, name, owner, autorenew=True, standing=standing)
    autorenew()
    assert _renewals(farm, name) == []
    farm.execute(
        "UPDATE svm.sliver SET renew_at = now() WHERE position <= 2 AND slice = "
        "(SELECT id FROM svm.slice WHERE name = :n)",
        n=name,
    )
    autorenew()
    autorenew()
    ((operation, actor, queue),) = _renewals(farm, name)
    assert (actor, queue) == ("beat", "renewals")
    assert farm.ended(operation).ok == 2
    autorenew()
    assert len(_renewals(farm, name)) == 1


def test_autorenew_ends_at_its_date_and_with_the_delegation(farm: Farm, owner: Credentials) -> None:
    from tasks.autorenew import autorenew

    for column in ("autorenew_until", "standing_until"):
        name = slice_name()
        standing = farm.given(owner, name, DelegationKind.STANDING)
        farm.run(Verb.CREATESLICE, name, owner, numnodes=1, autorenew=True, standing=standing)
        farm.execute(f"UPDATE svm.slice SET {column} = now() WHERE name = :n", n=name)  # noqa: S608
        autorenew()
        assert farm.rows("SELECT autorenew FROM svm.slice WHERE name = :n", n=name) == [(False,)]
        (note,) = farm.rows(
            "SELECT e.reason FROM svm.event e JOIN svm.operation o ON o.id = e.operation "
            "WHERE o.slice_name = :n AND o.actor = 'beat' AND e.type = 'note'",
            n=name,
        )
        assert note.reason.startswith("autorenew ended")


def test_autorenew_ends_for_a_revoked_owner(farm: Farm, lab: Lab) -> None:
    from tasks.autorenew import autorenew

    owner, name = lab.user(), slice_name()
    standing = farm.given(owner, name, DelegationKind.STANDING)
    farm.run(Verb.CREATESLICE, name, owner, numnodes=1, autorenew=True, standing=standing)
    farm.execute("UPDATE svm.sliver SET renew_at = now()")
    known = farm.process.worker_context.store
    try:
        farm.process.worker_context.store = lab.trust  # what the next list of plc's would bring
        lab.revoke(owner)
        autorenew()
        assert farm.rows("SELECT autorenew FROM svm.slice WHERE name = :n", n=name) == [(False,)]
    finally:
        farm.process.worker_context.store = known
        lab.revoked.clear()
        lab.publish()


def test_clean_purges_what_has_run_out_and_gives_the_name_back(farm: Farm, owner: Credentials) -> None:
    from tasks.clean import clean

    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner, numnodes=2)
    farm.run(Verb.DELETESLICE, name, owner)
    farm.run(Verb.NEWTICKETS, name, owner, numnodes=2)
    farm.execute("UPDATE svm.sliver SET expires_at = now() - interval '1 s' WHERE state = 'ticketed'")
    clean()
    ((id,),) = farm.rows("SELECT id FROM svm.operation WHERE slice_name = :n AND actor = 'beat'", n=name)
    farm.ended(id)
    assert farm.rows("SELECT state, released_at IS NOT NULL AS given FROM svm.slice WHERE name = :n", n=name) == [
        ("deleted", True),
        ("deleted", True),
    ]


def _renewals(farm: Farm, name: str) -> list[Any]:
    query = "SELECT id, actor, queue FROM svm.operation WHERE slice_name = :n AND verb = 'renewslice'"
    return [tuple(row) for row in farm.rows(query, n=name)]
