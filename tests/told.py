"""What failed and what was slow is said at once: a run that is ended from outside never comes to its summary."""

import pytest

SLOW_SECONDS = 40


class Told:
    """In the process that prints."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        words = []
        if report.failed:
            words.append(f"{report.outcome}, in its {report.when}: {_last_line(report)}")
        if report.duration > SLOW_SECONDS:
            words.append(f"{report.when} took {report.duration:.0f} s")
        for word in words:
            self._terminal.ensure_newline()
            self._terminal.write_line(f"{report.nodeid}: {word}")


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if not hasattr(session.config, "workerinput") and terminal is not None:
        session.config.pluginmanager.register(Told(terminal), "told")


def _last_line(report: pytest.TestReport) -> str:
    """Of the error itself, where pytest says it."""
    crash = getattr(report.longrepr, "reprcrash", None)
    message = crash.message if crash else report.longreprtext
    return (message.strip().splitlines() or [""])[0][:200]
