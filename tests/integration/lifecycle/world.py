"""A world without a network: what agents and nodes would have answered, recorded through the real functions."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from lifecycle.operations import Given, OperationRequest, SliceSpec, Started, start
from lifecycle.outcome import Claim, Done, Failed, Granted, Record, claim
from lifecycle.record import record
from lifecycle.steps import StepRef
from models.states import Kind, Verb
from trust.errors import Code, Refusal
from trust.identity import Identity

OWNER = Identity.user("pi@testbed.example")
OTHER = Identity.user("pi2@testbed.example")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJwtgNLkDfiEx0Ahe2YVRQpLZBG1HmRN9FbyPGGE9Dtx one"
KEY_TWO = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0Jp0jSM0Uaw2w7QDwWMVzOOfXyWBD9OQQnFcpdgrYb two"


def given(hours: int = 24, *, ago: int = 0, heal: bool = False) -> Given:
    now = datetime.now(UTC)
    return Given("delegation", now - timedelta(seconds=ago), now + timedelta(hours=hours), heal)


def wanted(verb: Verb, name: str = "demo", **options: Any) -> OperationRequest:
    if verb in (Verb.CREATESLICE, Verb.NEWTICKETS) and "spec" not in options:
        options["spec"] = SliceSpec(4, 3600)
    return OperationRequest(verb, name, options.pop("owner", OWNER), working=options.pop("working", given()), **options)


class World:
    """Drives operations by claiming and recording as a worker would."""

    def __init__(self, database: Engine) -> None:
        self.database = database
        self.generation: dict[str, int] = {}

    def start(self, verb: Verb, name: str = "demo", **options: Any) -> Started:
        with self.database.begin() as connection:
            return start(connection, wanted(verb, name, **options))

    def refused(self, code: Code, verb: Verb, name: str = "demo", **options: Any) -> Refusal:
        """It is, with this code."""
        with pytest.raises(Refusal) as caught:
            self.start(verb, name, **options)
        assert caught.value.code is code
        return caught.value

    def claim(
        self, refs: Sequence[StepRef] | Sequence[int], seconds: int = 75, worker: int | None = None
    ) -> list[Claim]:
        ids = [ref.id if isinstance(ref, StepRef) else ref for ref in refs]
        with self.database.begin() as connection:
            return claim(connection, ids, seconds=seconds, worker=worker)

    def record(
        self, *records: tuple[Claim, Done | Failed], wake: Sequence[UUID] = ()
    ) -> tuple[list[bool], list[StepRef]]:
        with self.database.begin() as connection:
            return record(connection, [Record(claim, result) for claim, result in records], wake)[:2]

    def finish(self, refs: Sequence[StepRef], failing: dict[tuple[Kind, str | None], Failed] | None = None) -> int:
        """Do all steps, and all that follow, one at a time; how many there were."""
        waiting, count = list(refs), 0
        while waiting:
            for found in self.claim([waiting.pop(0)]):
                count += 1
                result = (failing or {}).get((found.kind, found.node)) or self.answer(found)
                waiting += self.record((found, result))[1]
        return count

    def run(self, verb: Verb, name: str = "demo", **options: Any) -> Started:
        failing = options.pop("failing", None)
        started = self.start(verb, name, **options)
        self.finish(started.publish, failing)
        return started

    def answer(self, found: Claim) -> Done:
        """What agent or node say when all is well."""
        assert found.slice
        if found.kind is Kind.NEWTICKETS:
            living = self.rows("SELECT 1 FROM svm.sliver WHERE slice = :s AND state = 'ticketed'", s=found.slice.id)
            nodes = [f"127.0.1.{n}" for n in range(1, found.slice.numnodes + 1)]
            return tickets(nodes[len(living) :])
        if found.kind is Kind.REPLACE:
            return tickets(["127.0.1.99"])
        node = found.node or ""
        if found.kind in (Kind.NEWLEASES, Kind.RENEW):
            self.generation[node] = self.generation.get(node, 0) + 1
            return Done(
                lease="a lease",
                generation=self.generation[node],
                expires_at=datetime.now(UTC) + timedelta(seconds=found.slice.leaselen),
            )
        if found.kind in (Kind.ADDKEY, Kind.DELKEY, Kind.NUKEKEYS):
            return Done(key_generation=found.slice.key_generation)
        return Done()

    def rows(self, query: str, **bound: Any) -> list[Any]:
        with self.database.connect() as connection:
            return list(connection.execute(text(query), bound))

    def execute(self, statement: str, **bound: Any) -> None:
        with self.database.begin() as connection:
            connection.execute(text(statement), bound)

    def operation(self, id: UUID) -> Any:
        (row,) = self.rows("SELECT * FROM svm.operation WHERE id = :id", id=id)
        return row

    def states(self, name: str = "demo") -> dict[str, str]:
        query = """SELECT v.node, v.state FROM svm.sliver v JOIN svm.slice x ON x.id = v.slice
                   WHERE x.name = :name ORDER BY v.position"""
        return {row.node: row.state for row in self.rows(query, name=name)}

    def steps(self, operation: UUID) -> dict[tuple[str, str | None], str]:
        found = self.rows("SELECT kind, node, state FROM svm.step WHERE operation = :o ORDER BY id", o=operation)
        return {(row.kind, row.node): row.state for row in found}

    def events(self, operation: UUID, type: str) -> list[Any]:
        query = "SELECT * FROM svm.event WHERE operation = :o AND type = :t ORDER BY seq"
        return self.rows(query, o=operation, t=type)


def tickets(nodes: Sequence[str], slice_id: UUID | None = None, *, seconds: int = 3600) -> Done:
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    granted = tuple(
        Granted(node, f"n{node.rsplit('.', 1)[1]}", f"https://{node}:1", "main", (node, 2222, "a key"), "jti", "t", end)
        for node in nodes
    )
    return Done(tickets=granted, slice_id=slice_id or uuid4(), public_key="public", sealed_key=b"sealed")


def transient(again_in: float = 0.0) -> Failed:
    return Failed(Code.UNREACHABLE, "unreachable", again_in)


def final(code: Code = Code.UNREACHABLE, reason: str = "unreachable: try again") -> Failed:
    return Failed(code, reason)


def lapsed(found: Claim) -> Claim:
    """The same claim under a token that is no longer the row's."""
    return replace(found, token=uuid4())
