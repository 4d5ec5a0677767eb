"""What many steps ask at the same time: one transaction for all, each with its own answer."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from tasks.together import Together
from tests.integration.tasks.farm import Farm


def inverted(connection: Connection, numbers: Sequence[int]) -> list[str]:
    """One fails with a zero: PostgreSQL ends the transaction then."""
    rows = [connection.execute(text("SELECT 100 / CAST(:n AS int), txid_current()"), {"n": n}).one() for n in numbers]
    return [f"{row[0]} in {row[1]}" for row in rows]


async def asked(farm: Farm, *numbers: int) -> list[object]:
    together = Together(farm.database, inverted)
    return list(await asyncio.gather(*(together.ask(number) for number in numbers), return_exceptions=True))


def test_each_gets_its_own_answer_of_one_transaction(farm: Farm) -> None:
    first, *others = [str(answer).split(" in ") for answer in asyncio.run(asked(farm, 1, 2, 4, 5))]
    assert [first[0], *(number for number, _ in others)] == ["100", "50", "25", "20"]
    assert {transaction for _, transaction in others} == {first[1]}


def test_what_fails_for_one_is_not_the_others_trouble(farm: Farm) -> None:
    good, bad, fine = asyncio.run(asked(farm, 1, 0, 2))
    assert str(good).startswith("100 ")
    assert str(fine).startswith("50 ")
    assert "division by zero" in str(bad)


def test_while_postgresql_is_away_all_are_told_at_once(farm: Farm) -> None:
    looks = []

    def away(connection: Connection, numbers: Sequence[int]) -> list[str]:
        looks.append((connection, numbers))
        raise OperationalError("SELECT 1", {}, Exception("the connection is lost"))

    async def three() -> list[object]:
        together = Together(farm.database, away)
        return list(await asyncio.gather(*(together.ask(number) for number in range(3)), return_exceptions=True))

    assert [type(answer) for answer in asyncio.run(three())] == [OperationalError] * 3
    assert [numbers for _, numbers in looks] == [[0, 1, 2]]


def test_who_has_gone_keeps_nobody_from_an_answer(farm: Farm) -> None:
    async def with_one_who_goes() -> list[object]:
        together = Together(farm.database, inverted)
        gone = asyncio.create_task(together.ask(1))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return [await together.ask(2)]

    (answer,) = asyncio.run(with_one_who_goes())
    assert str(answer).startswith("50 ")
