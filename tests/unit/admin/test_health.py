"""`dslice health`: what docker-compose and systemd ask."""

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from admin.health import health
from rpc.health import Health, Look
from rpc.metrics import serve_beside


def place(**looks: Look) -> str:
    """Where a daemon answers that needs these."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    serve_beside(address, SecretStr("12345678"), CollectorRegistry(), Health(**looks))
    return address


def said(*words: str, **environment: str) -> tuple[int, str]:
    nothing = dict.fromkeys(("DSLICE_CONFIG", "DSLICE_METRICS_LISTEN", "DSLICE_FLOWER_LISTEN"))
    ran = CliRunner().invoke(health, words, env={**nothing, **environment})
    return ran.exit_code, ran.output.strip()


def test_ready_where_the_settings_say(tmp_path: Path) -> None:
    address = place()
    (tmp_path / "d.toml").write_text(f'metrics_listen = "{address}"\n')
    assert said(address) == (0, "ready")
    assert said(DSLICE_METRICS_LISTEN=address) == (0, "ready")
    assert said(DSLICE_FLOWER_LISTEN=address) == (0, "ready")
    assert said(DSLICE_CONFIG=str(tmp_path / "d.toml")) == (0, "ready")


def test_what_is_wrong_stands_on_a_line_each() -> None:
    address = place(database=lambda: "the database does not answer", disk=lambda: "it is full")
    assert said(address) == (1, "database: the database does not answer\ndisk: it is full")


def test_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    left = ["not yet", "not yet"]
    monkeypatch.setattr("rpc.health.KEPT_SECONDS", -1)
    address = place(start=lambda: left.pop() if left else None)
    assert said("--wait", "30", address) == (0, "ready")
    assert not left


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    status, text = said(address)
    assert (status, f"no answer from {address}" in text, "is the daemon up?" in text) == (1, True, True)
    assert said("nonsense")[0] == 1


def test_nobody_said_where(tmp_path: Path) -> None:
    status, text = said()
    assert (status, "DSLICE_METRICS_LISTEN" in text) == (2, True)
    status, text = said(DSLICE_CONFIG=str(tmp_path / "none.toml"))
    assert (status, "cannot read" in text) == (1, True)
