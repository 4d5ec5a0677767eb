"""`svm web` and `dslice web` as their users have them: the program, its link, and Debian's Chromium."""

import http.client
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.acceptance.lab import PI, Lab, first_line, interrupt

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = shutil.which("chromium")
WIDTHS = (360, 1280, 2560)
SERIOUS = ("serious", "critical")
LONG = 60_000
"""Milliseconds."""
COLOURS: dict[str, dict[str, list[str]]] = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}
"""What axe looks for, by the browser's scheme."""
WRONG_ALONE = {"resultTypes": ["violations"]}
"""To describe each element that is right, too, takes axe longer than to look."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    text: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class Served:
    """A running program of pages. `cookie` is what the link became."""

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

    def data(self, path: str) -> dict[str, Any]:
        """What a page says as JSON."""
        answer = self.ask("GET", f"{path}{'&' if '?' in path else '?'}format=json")
        assert answer.status == 200
        found: dict[str, Any] = json.loads(answer.text)
        return found

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
def served(lab: Lab, *command: str, user: str = PI) -> Iterator[Served]:
    """`svm web --no-browser` of a user, or another program, ended by Ctrl-C."""
    process = lab.begin(*(command or ("svm", "web")), "--no-browser", user=user)
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


def come_in(browser: "Browser", web: Served) -> None:
    """Use the link in a browser; its cookie is `web`'s from now on."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(web.link)
    page.wait_for_url("**/slices")
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    web.cookie = f"{cookie['name']}={cookie['value']}"
    context.close()


@contextmanager
def entered(browser: "Browser", web: Served, **options: Any) -> Iterator["Page"]:
    """A page of a browser that has come in. Nothing may come from elsewhere, and no script may fail."""
    context = browser.new_context(base_url=web.base, **options)
    name, _, value = web.cookie.partition("=")
    context.add_cookies([{"name": name, "value": value, "url": web.base}])
    context.set_default_timeout(LONG)
    try:
        page = context.new_page()
        wrong = _watched(context, page, web)
        yield page
        assert wrong == []
    finally:
        context.close()


def _watched(context: "BrowserContext", page: "Page", web: Served) -> list[str]:
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    context.on("request", lambda asked: None if asked.url.startswith(f"{web.base}/") else wrong.append(asked.url))
    return wrong


def axe_finds_nothing_serious(browser: "Browser", web: Served, addresses: list[str], scheme: str) -> None:
    """On any of the pages."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python").Axe()
    with entered(browser, web, color_scheme=scheme) as page:
        for address in addresses:
            page.goto(address)
            found = axe.run(page, options=COLOURS[scheme] | WRONG_ALONE).response["violations"]
            bad = [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in SERIOUS]
            assert (address, bad) == (address, [])


def no_page_is_wider(browser: "Browser", web: Served, addresses: list[str]) -> None:
    """Than any of the screens."""
    with entered(browser, web) as page:
        for address in addresses:
            page.goto(address)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 800})
                assert (address, page.evaluate("document.documentElement.scrollWidth")) == (address, width)
