"""`svm web` as its user has it: the program, its link, and Debian's Chromium."""

import http.client
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.acceptance.lab import PI, Lab, first_line, interrupt

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    text: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class Served:
    """A running `svm web`. `cookie` is what the link became."""

    link: str
    process: "subprocess.Popen[str]"
    cookie: str = ""

    @property
    def base(self) -> str:
        return self.link.partition("/enter/")[0]

    @property
    def address(self) -> str:
        return urlsplit(self.link).netloc

    def enter(self) -> Answer:
        """Use the link."""
        answer = self.ask("GET", urlsplit(self.link).path)
        self.cookie = answer.headers.get("set-cookie", "").partition(";")[0] or self.cookie
        return answer

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        """One request as a program makes it; `headers` with _ for -."""
        given = {"Cookie": self.cookie} if self.cookie else {}
        if body is not None:
            given |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.base}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path, body, given)
            response = connection.getresponse()
            text = response.read().decode()
            return Answer(response.status, text, {name.lower(): value for name, value in response.getheaders()})
        finally:
            connection.close()


@contextmanager
def served(lab: Lab, user: str = PI) -> Iterator[Served]:
    """`svm web --no-browser` of a user, ended by Ctrl-C."""
    process = lab.begin("svm", "web", "--no-browser", user=user)
    try:
        yield Served(first_line(process).strip(), process)
    finally:
        interrupt(process)


@contextmanager
def chromium() -> Iterator["Browser"]:
    """Debian's; skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
