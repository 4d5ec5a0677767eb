"""What nodes write down of their calls becomes calls of the model; no secret stands in it."""

import base64
import json
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from testbed.simulation.calls import FILE, recorded
from tests.faults.answers import parsed
from tests.faults.calls import What
from tests.unit.rpc.asgi import ask
from tests.unit.trust.factories import NOW

ID = "8c4a9a7e-0000-4000-8000-000000000001"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ user"


def ticket() -> str:
    claims = {"slice": "aa", "slice_id": ID, "jti": "t1"}
    return f"head.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.signature"


async def written(folder: Path, calls: list[tuple[str, str, dict[str, Any], int, dict[str, Any]]]) -> list[Any]:
    """The lines that a node writes when it is asked so and answers so."""
    for method, path, body, status, answer in calls:

        async def app(scope: Any, receive: Any, send: Any, status: int = status, answer: Any = answer) -> None:
            await receive()
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

        node: Any = SimpleNamespace(now=lambda: NOW)
        await ask(recorded(app, node, folder), method, path, pieces=[json.dumps(body).encode()])
    return [json.loads(line) for line in (folder / FILE).read_text().splitlines()]


async def test_calls_with_their_answers(tmp_path: Path) -> None:
    lease = {"lease": "token", "generation": 1, "expires_at": NOW.isoformat()}
    keys = {"slice_id": ID, "generation": 4, "keys": [KEY]}
    lines = await written(
        tmp_path,
        [
            ("POST", "/leases", {"ticket": ticket()}, 201, lease),
            ("PUT", "/slivers/aa/access", keys, 200, {"generation": 4}),
            ("POST", "/slivers/aa/renew", {"slice_id": ID, "from_generation": 1}, 403, {"code": "not-allowed"}),
            ("DELETE", "/slivers/aa", {"slice_id": ID, "jti": "t1"}, 500, {}),
        ],
    )
    calls = parsed(lines)["aa", ID]
    assert [(call.what, call.done) for call in calls] == [(What.GRANT, True), (What.KEYS, True), (What.DELETE, None)]
    assert calls[0].ticket == calls[2].ticket == "t1"
    assert (calls[0].generation, calls[0].end, calls[1].key_generation) == (1, NOW.timestamp(), 4)
    assert len(calls[1].keys or ()) == 1
    assert all(call.begun <= call.ended for call in calls)


async def test_no_secret_is_written(tmp_path: Path) -> None:
    body = {"lease": "SECRET-lease", "private_key": "SECRET-key", "public_key": KEY, "pair_generation": 0}
    await written(
        tmp_path,
        [
            ("PUT", "/slivers/aa", body, 200, {"slice_id": ID, "lease": "SECRET-lease"}),
            ("POST", "/leases", {"ticket": ticket()}, 201, {"lease": "SECRET-lease"}),
        ],
    )
    text = (tmp_path / FILE).read_text()
    assert "SECRET" not in text
    assert "signature" not in text
    assert KEY.split()[1] not in text


def test_what_was_not_answered_was_done_before_the_next_start_or_never() -> None:
    asked = {"at": 1, "heard": 1, "method": "DELETE", "path": "/slivers/aa", "slice_id": ID, "jti": "t1"}
    (call,) = parsed([asked])["aa", ID]
    assert (call.done, call.ended) == (None, inf)
    (call,) = parsed([asked, {"at": 5, "started": True}])["aa", ID]
    assert (call.done, call.ended) == (None, 5)
