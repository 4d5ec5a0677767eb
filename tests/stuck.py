"""Ends a test process that pytest-timeout cannot end, and says where each of its threads stands.

pytest-timeout raises in the main thread once. A test whose other threads, or whose clearing up, wait for ever outlives
that, and so does a process that is done and does not exit: with several processes the whole run would wait for it.
"""

import faulthandler
import os
from collections.abc import Generator

import pytest

GRACE_SECONDS = 120  # beyond a test's own timeout, for clearing up
END_SECONDS = 180  # from the end of the last test to the end of the process
SILENT_SECONDS = 900  # of all the processes that run tests, beside the one that waits for them


class Alarm:
    """The one of this process: faulthandler has no more."""

    def __init__(self) -> None:
        self._seconds: float = GRACE_SECONDS
        self._errors: int | None = None

    def set(self, seconds: float) -> None:
        """From now on, in place of what was before."""
        self._seconds = seconds
        self.again()

    def again(self) -> None:
        """The same time from now on."""
        if self._errors is None:
            self._errors = os.dup(2)  # pytest puts another in its place while a test runs
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._errors)


alarm = Alarm()


def pytest_collection() -> None:
    """The run begins."""
    alarm.set(SILENT_SECONDS)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    marker = item.get_closest_marker("timeout")
    own = marker.args[0] if marker and marker.args else float(item.config.getini("timeout"))
    alarm.set(own + GRACE_SECONDS)
    try:
        return (yield)
    finally:
        alarm.set(END_SECONDS)


@pytest.hookimpl(trylast=True)
def pytest_exception_interact() -> None:
    """A test has failed: pytest puts out its own alarm, and ours with it."""
    alarm.again()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Another process has sent this, of those that run tests for this one."""
    if hasattr(report, "node"):
        alarm.set(SILENT_SECONDS)
