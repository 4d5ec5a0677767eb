"""Logs: JSON lines on stderr, without secrets."""

import json
import subprocess
import sys
from typing import Any

import pytest

from rpc.logs import HIDDEN, redact

JWS = "eyJhbGciOiJFUzI1NiJ9.eyJhIjoxfQ.c2lnbmF0dXJl"
PEM = "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----"


def cleaned(**event: Any) -> dict[str, Any]:
    return dict(redact(None, "info", event))


@pytest.mark.parametrize(
    "name",
    [
        "token", "enroll_token", "ticket", "tickets", "lease", "password", "key", "private_key", "delegation",
        "Dslice-Delegation", "Authorization", "ca_secret", "cookie", "certificate_pem", "idempotency_key",
    ],
)  # fmt: skip
def test_secrets_by_name(name: str) -> None:
    assert cleaned(**{name: "abc"}) == {name: HIDDEN}
    assert cleaned(body={"deep": [{name: "abc"}]}) == {"body": {"deep": [{name: HIDDEN}]}}


@pytest.mark.parametrize("name", ["slice", "node", "key_generation", "fingerprint", "jti", "event", "operation"])
def test_what_is_no_secret(name: str) -> None:
    assert cleaned(**{name: "abc", "count": 3, "ok": True, "none": None}) == {
        name: "abc", "count": 3, "ok": True, "none": None,
    }  # fmt: skip


@pytest.mark.parametrize("secret", [JWS, PEM, PEM[:40], "dslice-node-n1-ABCDEFGHIJKLMNOPQRSTUVWXYZ-0123"])
def test_secrets_by_looks(secret: str) -> None:
    for event in (
        cleaned(event=f"got {secret}."),
        cleaned(args=(f"got {secret}.",)),
        cleaned(error=ValueError(f"got {secret}.")),
    ):
        shown = json.dumps(event)
        assert "got" in shown
        assert json.dumps(secret)[1:-1] not in shown


def test_passwords_in_addresses() -> None:
    assert "hunter2" not in json.dumps(cleaned(event="to redis://:hunter2@broker:6379/0 postgresql://svm:hunter2@db/x"))
    assert cleaned(event="https://127.0.0.1:7200/x") == {"event": "https://127.0.0.1:7200/x"}


def test_lines_of_a_daemon() -> None:
    program = """
import logging, structlog
from rpc.logs import configure
configure("info", "agent")
structlog.get_logger("a.b").info("one", token="abc", node="n1")
logging.getLogger("c").warning("two %s", "eyJhbGciOiJFUzI1NiJ9.eyJhIjoxfQ.c2ln", extra={"password": "abc"})
logging.getLogger("c").debug("not shown")
try:
    raise RuntimeError("eyJhbGciOiJFUzI1NiJ9.eyJhIjoxfQ.c2ln")
except RuntimeError:
    logging.getLogger("c").exception("three")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    one, two, three = (json.loads(line) for line in done.stderr.splitlines())
    assert one["role"] == two["role"] == three["role"] == "agent"
    assert (one["event"], one["node"], one["token"], one["level"], one["logger"]) == (
        "one", "n1", HIDDEN, "info", "a.b",
    )  # fmt: skip
    assert one["timestamp"].endswith("Z")
    assert (two["event"], two["password"]) == (f"two {HIDDEN}", HIDDEN)
    assert "Traceback" in three["exception"]
    assert "eyJ" not in done.stderr
