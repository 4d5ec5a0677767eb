"""What the agent lets a node say, and how it tells others: pure parts of `agent.api`."""

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from agent.api import TicketsBody
from agent.client import Ad, FrontDoor, Promise, Tickets, ad_from_json, ad_to_json, tickets_from_json, tickets_to_json
from agent.intake import AdBody, check_ad
from models.agent import ad
from rpc.calls import parsed
from tests.unit.trust.factories import NODE, NOW, SLICE_ID, certificate_of, store_of
from trust.errors import Code, Refusal
from trust.identity import Identity, Role
from trust.sshkeys import new_ssh_key_pair

HOST_KEY = new_ssh_key_pair("")[1]
AD = Ad(
    node="n1",
    address="127.0.0.1",
    api="https://127.0.0.1:2280",
    site="Princeton",
    slots_free=1,
    slots=2,
    memory_free_mb=100,
    max_leaselen=10,
    frontdoor=FrontDoor("127.0.0.1", 2222, HOST_KEY),
    simulated=False,
    expires_at=NOW,
)


def body(**changes: Any) -> AdBody:
    return AdBody.model_validate({**ad_to_json(AD), **changes})


def test_what_travels_comes_back_as_it_was() -> None:
    assert ad_from_json(ad_to_json(AD)) == AD
    assert body().said(NOW).ad == AD
    promise = Promise("n1", AD.address, AD.api, AD.frontdoor, "t-1", "a.b.c", NOW)
    tickets = Tickets(SLICE_ID, "main", (promise,))
    assert tickets_from_json(json.loads(tickets_to_json(tickets))) == tickets
    assert "a.b.c" not in repr(tickets)


def test_every_field_is_taken_from_a_node_and_stored() -> None:
    fields = set(Ad.__slots__)
    assert set(AdBody.model_fields) == fields - {"expires_at"} | {"burnt"}
    assert set(ad.c.keys()) == fields - {"frontdoor"} | {"frontdoor_port", "host_key"}


def test_a_newer_nodes_further_members_are_passed_over() -> None:
    assert body(gpu=4).said(NOW).ad == AD


@pytest.mark.parametrize(
    "changes",
    [
        {"address": "n1.example"},
        {"site": ""},
        {"site": "a\nb"},
        {"slots": -1},
        {"slots": "2"},
        {"slots_free": True},
        {"max_leaselen": 1_209_601},
        {"frontdoor": {"address": "127.0.0.1", "port": 0, "host_key": HOST_KEY}},
        {"frontdoor": {"address": "127.0.0.1", "port": 22, "host_key": "nonsense"}},
        {"frontdoor": {"address": "127.0.0.1", "port": 22, "host_key": f"{HOST_KEY}\nevil"}},
        {"burnt": ["../x"]},
    ],
)
def test_what_no_node_should_say_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        body(**changes)


def test_a_host_key_is_written_anew_without_its_comment() -> None:
    door = {"address": "127.0.0.1", "port": 22, "host_key": f"{HOST_KEY} root@somewhere"}
    assert body(frontdoor=door).frontdoor.host_key == HOST_KEY


@pytest.mark.parametrize(
    ("changes", "path", "code"),
    [
        ({}, "n2", Code.NOT_ALLOWED),
        ({"node": "n2"}, "n1", Code.NOT_ALLOWED),
        ({"node": "n2"}, "n2", Code.NOT_ALLOWED),
        ({"address": "127.0.0.2"}, "n1", Code.NOT_ALLOWED),
        ({"frontdoor": FrontDoor("127.0.0.2", 22, HOST_KEY)}, "n1", Code.BAD_INPUT),
        ({"api": "https://127.0.0.2:2280"}, "n1", Code.BAD_INPUT),
        ({"api": "http://127.0.0.1:2280"}, "n1", Code.BAD_INPUT),
        ({"api": "https://127.0.0.1:2280/x"}, "n1", Code.BAD_INPUT),
        ({"api": "https://u@127.0.0.1:2280"}, "n1", Code.BAD_INPUT),
        ({"api": "https://127.0.0.1:99999"}, "n1", Code.BAD_INPUT),
        ({"api": "https://127.0.0.1"}, "n1", Code.BAD_INPUT),
        ({"slots_free": 3}, "n1", Code.BAD_INPUT),
    ],
)
def test_a_node_speaks_for_itself_and_its_certified_address_only(
    changes: dict[str, Any], path: str, code: Code
) -> None:
    peer = store_of().peer(certificate_of(NODE), [Role.NODE])
    check_ad(AD, "n1", peer)
    with pytest.raises(Refusal) as caught:
        check_ad(replace(AD, **changes), path, peer)
    assert caught.value.code is code


@pytest.mark.parametrize(
    ("text", "reason"),
    [(b"", "body: missing; give it"), (b"[1", "the body is not JSON"), (b"{}", "node: missing; give it")],
)
def test_a_body_that_is_none_is_refused_in_one_line(text: bytes, reason: str) -> None:
    with pytest.raises(Refusal, match=reason) as caught:
        parsed(AdBody, text, "application/json")
    assert caught.value.code is Code.BAD_INPUT


def test_a_body_of_another_type_is_refused() -> None:
    whole = json.dumps(ad_to_json(AD)).encode()
    assert parsed(AdBody, whole, "application/json; charset=utf-8").node == "n1"
    for wrong in ("", "text/plain"):
        with pytest.raises(Refusal, match="Content-Type: application/json"):
            parsed(AdBody, whole, wrong)


def test_nodes_are_told_apart_by_role_and_name() -> None:
    assert AD.identity == Identity(Role.NODE, "n1")


@pytest.mark.parametrize(
    "changes",
    [
        {"numnodes": 0},
        {"numnodes": -1},
        {"numnodes": 1e3},
        {"numnodes": "8"},
        {"numnodes": True},
        {"leaselen": 0},
        {"leaselen": 1_209_601},
        {"ips": ["n1"]},
        {"ips": ["127.0.0.1/8"]},
        {"ips": ["127.0.0.1"] * 10_001},
        {"exclude": ["x"]},
        {"owner": "somebody"},
    ],
)
def test_requests_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    wanted: dict[str, Any] = {"slice": "demo", "numnodes": 8, "leaselen": 3_600}
    TicketsBody.model_validate(wanted)
    with pytest.raises(ValidationError):
        TicketsBody.model_validate(wanted | changes)
