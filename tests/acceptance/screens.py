"""`make screens`: the pictures of `svm web` and `dslice web` in docs/, made anew from a testbed of their own."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.acceptance.browsing import Served, chromium, served
from tests.acceptance.lab import Lab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DOCS = Path(__file__).parents[2] / "docs" / "web"
NODES, LEASE = 24, 1_209_600
PICTURES = {
    "slices": ("/slices", 1280, "light"),
    "slice": ("/slices/oceanstore", 1280, "light"),
    "slice-dark": ("/slices/oceanstore", 1280, "dark"),
    "slice-small": ("/slices/oceanstore", 390, "light"),
    "operation": ("", 1280, "light"),
    "nodes": ("/nodes?site=Princeton", 1280, "light"),
    "new": ("/new?name=coral&numnodes=5&length=3&unit=days&memory=128&mine=yes", 1280, "light"),
}
"""Address, width and scheme by name; no address: the operation that failed in part."""


def main() -> None:
    """Make them."""
    DOCS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        lab.up(simulated=64)
        try:
            operation = _slices(lab)
            with served(lab) as web, chromium() as browser:
                web.enter()
                for name, (path, width, scheme) in PICTURES.items():
                    _shoot(browser, web, name, path or f"/operations/{operation}", width, scheme)
            with served(lab, "dslice", "web") as web, chromium() as browser:
                web.enter()
                _shoot(browser, web, "operator", "/nodes?site=Princeton", 1280, "light")
        finally:
            lab.down()


def _slices(lab: Lab) -> str:
    """Three slices, one of them with a node that fails; the operation that made that one."""
    nodes = [*lab.real, *lab.simulated]
    lab.create("oceanstore", nodes[:NODES], leaselen=LEASE).must()
    lab.svm("autorenew", "oceanstore", "on").must()
    key = lab.home / "users" / "pi@testbed.example" / "id_ed25519.pub"
    lab.svm("addkey", "oceanstore", str(key)).must()
    lab.create("bamboo", nodes[30:42], leaselen=7200).must()
    lab.fault(nodes[50], "refuse")
    lab.create("pier", nodes[44:52], leaselen=86_400)
    lab.dslice("node", "drain", "s7", "--reason", "new disk on Tuesday").must()
    web = lab.svm("--json", "history", "pier").must()
    return web.out.partition('"operation": "')[2].partition('"')[0]


def _shoot(browser: "Browser", web: Served, name: str, path: str, width: int, scheme: str) -> None:
    height = 800 if width > 500 else 844
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    cookie, _, value = web.cookie.partition("=")
    context.add_cookies([{"name": cookie, "value": value, "url": web.base}])
    page = context.new_page()
    page.goto(web.base + path)
    page.wait_for_timeout(500)
    page.screenshot(path=DOCS / f"{name}.png")
    context.close()


if __name__ == "__main__":
    main()
