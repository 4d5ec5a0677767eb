"""svmd's database is put back from a dump: what nodes have learned since is taken up, and every verb works again."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lifecycle.operations import Verb
from models.states import Outcome
from nodemgr.storage.store import LeaseRow
from rpc.credentials import Credentials
from tasks.reconcile import reconcile_all
from tests.integration.agent.lab import slice_name
from tests.integration.tasks.farm import Farm, until
from trust.sshkeys import new_ssh_key_pair

ONE, TWO, THREE, FOUR = (new_ssh_key_pair(name)[1] for name in ("one", "two", "three", "four"))
TABLES = ("slice", "sliver", "slice_key")


@pytest.fixture(autouse=True)
def _no_findings(farm: Farm) -> Iterator[None]:
    yield
    farm.execute("DELETE FROM svm.finding")
    farm.execute("DELETE FROM svm.node")


class Dump:
    """The rows of one slice as they are now."""

    def __init__(self, farm: Farm, name: str) -> None:
        self.farm = farm
        self.slice = farm.rows("SELECT id FROM svm.slice WHERE name = :n AND state = 'open'", n=name)[0].id
        self.rows = {table: json.dumps([row[0] for row in self._all(table)]) for table in TABLES}

    def _all(self, table: str) -> list[Any]:
        key = "id" if table == "slice" else "slice"
        return self.farm.rows(f"SELECT to_jsonb(t) FROM svm.{table} t WHERE {key} = :s", s=self.slice)  # noqa: S608

    def put_back(self) -> None:
        """As pg_restore would; then an hour goes by for the slivers."""
        columns = "key_generation, pair_generation, pair_wanted, public_key, sealed_key"
        old = "jsonb_populate_recordset(NULL::svm.slice, CAST(:rows AS jsonb))"
        self.farm.execute(
            f"UPDATE svm.slice SET ({columns}) = (SELECT {columns} FROM {old}) WHERE id = :s",  # noqa: S608
            rows=self.rows["slice"],
            s=self.slice,
        )
        for table in TABLES[1:]:
            old = f"jsonb_populate_recordset(NULL::svm.{table}, CAST(:rows AS jsonb))"
            self.farm.execute(f"DELETE FROM svm.{table} WHERE slice = :s", s=self.slice)  # noqa: S608
            self.farm.execute(f"INSERT INTO svm.{table} SELECT * FROM {old}", rows=self.rows[table])  # noqa: S608
        self.farm.execute("UPDATE svm.sliver SET changed_at = now() - interval '1 hour' WHERE slice = :s", s=self.slice)


def held(farm: Farm, name: str) -> list[LeaseRow]:
    """What the nodes have."""
    leases = [one.node.store.lease(name) for one in farm.lab.population.nodes]
    return [lease for lease in leases if lease is not None]


def keys(farm: Farm, name: str) -> list[set[str]]:
    return [set(lease.keys) for lease in held(farm, name)]


def reconciled(farm: Farm) -> None:
    reconcile_all()
    until(lambda: not farm.rows("SELECT 1 FROM svm.operation WHERE ended_at IS NULL"))


def created(farm: Farm, owner: Credentials, *more: str) -> str:
    """A slice with these keys."""
    name = slice_name()
    farm.run(Verb.CREATESLICE, name, owner)
    for key in more:
        farm.run(Verb.ADDKEY, name, owner, keys=(key,))
    return name


@pytest.mark.parametrize("since", [(TWO,), (TWO, THREE)])
def test_a_key_is_added_and_those_that_the_dump_does_not_have_are_gone(
    farm: Farm, owner: Credentials, since: tuple[str, ...]
) -> None:
    name = created(farm, owner, ONE)
    dump = Dump(farm, name)
    for key in since:
        farm.run(Verb.ADDKEY, name, owner, keys=(key,))
    dump.put_back()
    added = farm.run(Verb.ADDKEY, name, owner, keys=(since[-1],))
    assert (added.outcome, added.failed) == (Outcome.DONE, 0)
    assert keys(farm, name) == [{ONE, since[-1]}] * 4
    reconciled(farm)
    assert keys(farm, name) == [{ONE, since[-1]}] * 4
    assert farm.rows("SELECT min(v.key_generation) = max(x.key_generation) FROM svm.sliver v JOIN svm.slice x"
                     " ON x.id = v.slice WHERE x.name = :n", n=name) == [(True,)]  # fmt: skip


@pytest.mark.parametrize(("verb", "left"), [(Verb.DELKEY, {TWO}), (Verb.NUKEKEYS, set())])
def test_a_key_is_removed(farm: Farm, owner: Credentials, verb: Verb, left: set[str]) -> None:
    name = created(farm, owner, ONE, TWO)
    dump = Dump(farm, name)
    for key in (THREE, FOUR):
        farm.run(Verb.ADDKEY, name, owner, keys=(key,))
    dump.put_back()
    assert farm.run(verb, name, owner, keys=(ONE,) if verb is Verb.DELKEY else ()).outcome is Outcome.DONE
    assert keys(farm, name) == [left] * 4


def test_all_keys_are_removed_though_the_dump_has_none(farm: Farm, owner: Credentials) -> None:
    name = created(farm, owner)
    dump = Dump(farm, name)
    farm.run(Verb.ADDKEY, name, owner, keys=(ONE,))
    dump.put_back()
    assert farm.run(Verb.NUKEKEYS, name, owner).outcome is Outcome.DONE
    assert keys(farm, name) == [set()] * 4


def test_reconcile_makes_the_nodes_keys_those_of_the_table(farm: Farm, owner: Credentials) -> None:
    name = created(farm, owner, ONE)
    dump = Dump(farm, name)
    farm.run(Verb.ADDKEY, name, owner, keys=(TWO,))
    dump.put_back()
    reconciled(farm)
    assert keys(farm, name) == [{ONE}] * 4


def test_reconcile_sees_another_set_of_the_same_generation(farm: Farm, owner: Credentials) -> None:
    name = created(farm, owner, ONE)
    dump = Dump(farm, name)
    farm.run(Verb.ADDKEY, name, owner, keys=(TWO,))
    dump.put_back()
    farm.execute("UPDATE svm.slice SET key_generation = 2 WHERE id = :s", s=dump.slice)
    farm.execute("UPDATE svm.sliver SET key_generation = 2 WHERE slice = :s", s=dump.slice)
    reconciled(farm)
    assert keys(farm, name) == [{ONE}] * 4


def test_a_pair_newer_than_the_dumps_gives_way_to_one_newer_still(farm: Farm, owner: Credentials) -> None:
    name = created(farm, owner)
    dump = Dump(farm, name)
    for _ in range(3):
        farm.run(Verb.REKEY, name, owner)
    dump.put_back()
    assert farm.run(Verb.REKEY, name, owner).outcome is Outcome.DONE
    reconciled(farm)
    until(lambda: len({(lease.slice_key, lease.pair_generation) for lease in held(farm, name)}) == 1)
    assert held(farm, name)[0].pair_generation > 3


def test_a_renewal_goes_on_from_the_nodes_lease(farm: Farm, owner: Credentials) -> None:
    name = created(farm, owner)
    dump = Dump(farm, name)
    for _ in range(3):
        farm.run(Verb.RENEWSLICE, name, owner)
    dump.put_back()
    renewed = farm.run(Verb.RENEWSLICE, name, owner)
    assert renewed.outcome is Outcome.DONE, farm.errors(renewed.id)
    rows = farm.rows("SELECT node, lease FROM svm.sliver WHERE slice = :s", s=dump.slice)
    assert sorted(row.lease for row in rows) == sorted(lease.token for lease in held(farm, name))
    assert [lease.generation for lease in held(farm, name)] == [5] * 4


def test_a_vm_is_made_under_a_lease_and_a_pair_that_the_dump_does_not_have(farm: Farm, owner: Credentials) -> None:
    name = slice_name()
    farm.run(Verb.NEWTICKETS, name, owner)
    farm.run(Verb.NEWLEASES, name, owner)
    dump = Dump(farm, name)
    for verb in (Verb.NEWVMS, Verb.REKEY, Verb.RENEWSLICE, Verb.RENEWSLICE):
        farm.run(verb, name, owner)
    dump.put_back()
    made = farm.run(Verb.NEWVMS, name, owner)
    assert made.outcome is Outcome.DONE, farm.errors(made.id)
    rows = farm.rows("SELECT node, lease, state FROM svm.sliver WHERE slice = :s", s=dump.slice)
    assert sorted(row.lease for row in rows) == sorted(lease.token for lease in held(farm, name))
    assert {row.state for row in rows} == {"running"}
    reconciled(farm)
    until(lambda: len({(lease.slice_key, lease.pair_generation) for lease in held(farm, name)}) == 1)
