"""A simulated sliver is a file, which says whether it was stopped."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from nodemgr.slivers.drivers.simulated import STOPPED, SimulatedDriver
from tests.unit.nodemgr.world import refused
from tests.unit.trust.factories import SLICE_ID
from trust.errors import Code


@pytest.fixture
def driver(tmp_path: Path) -> SimulatedDriver:
    (tmp_path / f"ocean@{SLICE_ID}").touch()
    return SimulatedDriver(tmp_path)


def said(driver: SimulatedDriver) -> list[str]:
    return [path.read_text() for path in driver.directory.iterdir()]


async def test_a_stopped_one_is_there_until_it_is_started(driver: SimulatedDriver) -> None:
    await driver.stop("ocean")
    assert said(driver) == [STOPPED]
    assert await driver.list() == {"ocean": SLICE_ID}
    assert await driver.ended(["ocean"]) == []
    await driver.start("ocean")
    assert said(driver) == [""]


@pytest.mark.parametrize("call", [SimulatedDriver.stop, SimulatedDriver.delete])
async def test_one_that_fails_changes_nothing(
    driver: SimulatedDriver, call: Callable[[SimulatedDriver, str], Coroutine[Any, Any, None]]
) -> None:
    driver.failing = "not now"
    with refused(Code.INTERNAL):
        await call(driver, "ocean")
    assert said(driver) == [""]
