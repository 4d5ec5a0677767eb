"""The app's settings: each of these was a failure once."""

from pathlib import Path

import pytest
from kombu.exceptions import OperationalError

from models.states import Kind, Queue
from trust.errors import Code, Refusal
from workers.app import PERIODIC, app, make_app, schedule
from workers.broker import SteadyConnection
from workers.settings import Settings


def test_required_settings() -> None:
    conf = make_app(Settings()).conf
    assert conf.task_acks_late
    assert conf.task_ignore_result
    assert conf.result_backend is None
    assert conf.accept_content == ["json"]
    assert not conf.worker_cancel_long_running_tasks_on_connection_loss
    assert conf.broker_connection_max_retries is None
    options = conf.broker_transport_options
    assert options["visibility_timeout"] >= 3 * 45
    assert {"socket_timeout", "socket_connect_timeout", "socket_keepalive", "health_check_interval"} <= options.keys()


def test_every_kind_of_step_is_a_task_of_that_name() -> None:
    app = make_app(Settings())
    app.loader.import_default_modules()
    assert set(Kind) <= set(app.tasks)
    assert set(PERIODIC) <= set(app.tasks)


def test_beat_only_starts_tasks_that_exist_in_queues_that_exist() -> None:
    app = make_app(Settings())
    app.loader.import_default_modules()
    for entry in schedule(Settings()).values():
        assert entry["task"] in app.tasks
        assert entry["options"]["queue"] in set(Queue)
        assert entry["options"]["expires"] <= entry["schedule"]


def test_settings_from_a_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "worker.toml").write_text('broker_url = "redis://one/0"\nretries = 7\n')
    monkeypatch.setenv("DSLICE_CONFIG", str(tmp_path / "worker.toml"))
    monkeypatch.setenv("DSLICE_BROKER_URL", "redis://two/0")
    monkeypatch.setenv("DSLICE_SWEEP_SECONDS", "3")
    found = Settings.load()
    assert (found.broker_url.get_secret_value(), found.retries, found.sweep) == ("redis://two/0", 7, 3)
    assert found.policy.patience.times == 7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DSLICE_SWEEP_SECONDS", "0"),
        ("DSLICE_WORKER_QUEUES", "interactive,other"),
        ("DSLICE_STEP_SECONDS", "46"),
        ("DSLICE_LOG_LEVEL", "LOUD"),
    ],
)
def test_wrong_settings_are_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Refusal) as caught:
        Settings.load()
    assert caught.value.code is Code.BAD_INPUT


def test_secrets_are_not_shown() -> None:
    from pydantic import SecretStr

    assert "hunter2" not in repr(
        Settings(flower_auth=SecretStr("u:hunter2"), database_url=SecretStr("postgres://x:hunter2@y/z"))
    )


def test_a_broker_that_is_away_is_tried_every_second() -> None:
    """kombu's own pace is 2, 4, 6 … 30 s; workers and beat get their connections from the app."""
    assert type(app.connection_for_read()) is type(app.connection_for_write()) is SteadyConnection
    waits: list[float] = []
    with pytest.raises(OperationalError):
        SteadyConnection("redis+socket:///nowhere/valkey.sock").ensure_connection(
            lambda error, wait: waits.append(wait), 3
        )
    assert waits == [1, 1, 1]
