"""svmd's view of agents' advertisements: asked for by tag, merged, written once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from agent.client import Ad, ad_to_json
from plc.client import AgentEntry
from rpc.reply import Reply
from svm.service.ads import Lists
from tests.unit.agent.test_ads import AD
from trust.errors import Code, Refusal

ONE, TWO = (AgentEntry(name, f"https://{name}:1") for name in ("one", "two"))
ELSEWHERE = replace(AD, node="n2", address="127.0.0.2")


@dataclass
class Wire:
    """Answers for each agent, as `rpc.aio.Session` gives them; and the tags that it was asked with."""

    ads: dict[str, Sequence[Ad]]
    asked: list[str | None] = field(default_factory=list)

    async def call(self, method: str, url: str, *, headers: dict[str, str], **_: Any) -> Reply:
        host = url.split("/")[2].split(":", maxsplit=1)[0]
        ads = [ad_to_json(ad) for ad in self.ads[host]]
        tag = f'"{host}{len(ads)}"'
        self.asked.append(headers.get("If-None-Match"))
        if self.asked[-1] == tag:
            return Reply(304, {"etag": tag}, None)
        return Reply(200, {"etag": tag}, {"ads": ads})


async def answer(lists: Lists, *entries: AgentEntry) -> bytes:
    return lists.answer({entry.name: await lists.of(entry) for entry in entries})


def shown(text: bytes) -> list[tuple[str, str]]:
    return [(row["agent"], row["node"]) for row in json.loads(text)["ads"]]


async def test_the_same_advertisements_are_the_same_answer() -> None:
    wire = Wire({"one": [AD]})
    lists: Any = Lists(wire)  # type: ignore[arg-type]
    first = await answer(lists, ONE)
    assert await answer(lists, ONE) is first
    wire.ads["one"] = [AD, ELSEWHERE]
    assert shown(await answer(lists, ONE)) == [("one", "n1"), ("one", "n2")]
    assert wire.asked == [None, '"one1"', '"one1"']


async def test_a_node_of_two_agents_is_shown_once_and_none_is_forgotten() -> None:
    lists: Any = Lists(Wire({"one": [AD], "two": [AD, ELSEWHERE]}))  # type: ignore[arg-type]
    assert shown(await answer(lists, ONE, TWO)) == [("one", "n1"), ("two", "n2")]
    assert shown(await answer(lists, TWO)) == [("two", "n1"), ("two", "n2")]
    assert shown(await answer(lists, ONE, TWO)) == [("one", "n1"), ("two", "n2")]


async def test_users_see_what_there_is_and_not_how_services_reach_it() -> None:
    lists: Any = Lists(Wire({"one": [AD]}))  # type: ignore[arg-type]
    (row,) = json.loads(await answer(lists, ONE))["ads"]
    assert row.keys() == {"agent", *Ad.__slots__} - {"api", "frontdoor", "expires_at"}


async def test_an_agent_that_does_not_answer_is_not_answered_for() -> None:
    class Away(Wire):
        async def call(self, method: str, url: str, **_: Any) -> Reply:
            raise Refusal(Code.UNREACHABLE, "no answer")

    lists: Any = Lists(Away({}))  # type: ignore[arg-type]
    with pytest.raises(Refusal):
        await lists.of(ONE)
