"""A simulated sliver is a file, which says whether it was stopped."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from nodemgr.slivers.drivers.driver import SliverSpec
from nodemgr.slivers.drivers.simulated import STOPPED, SimulatedDriver
from tests.unit.nodemgr.world import SLICE_KEYS, refused
from tests.unit.trust.factories import SLICE_ID
from trust.errors import Code


@pytest.fixture
def driver(tmp_path: Path) -> SimulatedDriver:
    (tmp_path / f"ocean@{SLICE_ID}").touch()
    return SimulatedDriver(tmp_path)


def spec(slice: str) -> SliverSpec:
    return SliverSpec(slice, SLICE_ID, "n1", 1, 1, *SLICE_KEYS[0])


def said(driver: SimulatedDriver) -> list[str]:
    return [path.read_text() for path in driver.directory.iterdir()]


async def test_a_stopped_one_is_there_until_it_is_started(driver: SimulatedDriver) -> None:
    await driver.stop("ocean")
    assert said(driver) == [STOPPED]
    assert await driver.list() == {"ocean": SLICE_ID}
    assert await driver.ended(["ocean"]) == []
    await driver.start("ocean")
    assert said(driver) == [""]


async def test_slivers_with_a_model_are_names_of_one_file_until_they_are_stopped(tmp_path: Path) -> None:
    (tmp_path / "model").touch()
    driver = SimulatedDriver(tmp_path / "slivers", model=tmp_path / "model")
    for number in range(2):
        await driver.create(spec(f"ocean{number}"))
        await driver.create(spec(f"ocean{number}"))
    assert (tmp_path / "model").stat().st_nlink == 3
    await driver.stop("ocean0")
    assert sorted(said(driver)) == ["", STOPPED]
    await driver.start("ocean0")
    assert said(driver) == ["", ""]
    (tmp_path / "model").unlink()
    await driver.create(spec("ocean2"))
    await driver.delete("ocean1")
    assert (await driver.list()).keys() == {"ocean0", "ocean2"}


@pytest.mark.parametrize("call", [SimulatedDriver.stop, SimulatedDriver.delete])
async def test_one_that_fails_changes_nothing(
    driver: SimulatedDriver, call: Callable[[SimulatedDriver, str], Coroutine[Any, Any, None]]
) -> None:
    driver.failing = "not now"
    with refused(Code.INTERNAL):
        await call(driver, "ocean")
    assert said(driver) == [""]
