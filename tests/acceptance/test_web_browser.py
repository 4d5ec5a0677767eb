"""Every page and button of `svm web` in a real browser, against a testbed with real slivers."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.browsing import (
    COLOURS,
    Served,
    axe_finds_nothing_serious,
    chromium,
    come_in,
    entered,
    no_page_is_wider,
    served,
)
from tests.acceptance.lab import Lab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SLICE = "webpages"


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def web(lab: Lab, browser: "Browser") -> Iterator[Served]:
    """Entered by a browser, with a slice on a real and two simulated nodes; `cookie` is the browser's."""
    lab.create(SLICE, [lab.real[0], *lab.simulated[:2]]).must()
    with served(lab) as found:
        come_in(browser, found)
        yield found
    lab.svm("deleteslice", SLICE).must()


@pytest.fixture
def page(browser: "Browser", web: Served) -> Iterator["Page"]:
    with entered(browser, web) as found:
        yield found


def pages(web: Served, lab: Lab) -> list[str]:
    """An address of each kind."""
    found = web.ask("GET", f"/slices/{SLICE}").text
    operation = re.search(r"/operations/[0-9a-f-]{36}", found)
    assert operation is not None
    filled = "/new?name=coral&numnodes=2&length=1&unit=days"
    return [
        "/slices",
        f"/slices/{SLICE}",
        f"/slices/{SLICE}/history",
        operation[0],
        "/nodes",
        f"/nodes/{lab.real[0]}",
        "/new",
        filled,
        f"{filled}&ips=nonsense",
        "/nothing",
    ]


def done(page: "Page", verb: str) -> None:
    """The page of an operation shows by itself that it is done."""
    page.wait_for_url("**/operations/*")
    page.get_by_role("heading", level=1, name=f"{verb} done").wait_for()


@pytest.mark.parametrize("scheme", COLOURS)
def test_axe_finds_nothing_serious(browser: "Browser", web: Served, lab: Lab, scheme: str) -> None:
    axe_finds_nothing_serious(browser, web, pages(web, lab), scheme)


def test_no_page_is_wider_than_the_screen(browser: "Browser", web: Served, lab: Lab) -> None:
    no_page_is_wider(browser, web, pages(web, lab))


def test_pages_are_readable_and_buttons_work_without_script(browser: "Browser", web: Served, lab: Lab) -> None:
    with entered(browser, web, java_script_enabled=False) as page:
        for address in pages(web, lab):
            page.goto(address)
            assert page.get_by_role("heading", level=1).count() == 1
        page.goto(f"/slices/{SLICE}")
        page.get_by_role("button", name="Renew now").click()
        page.wait_for_url("**/operations/*")
        assert "renewslice" in page.inner_text("h1")


def test_by_keyboard_alone(page: "Page") -> None:
    page.goto("/slices")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "New slice"
    page.get_by_role("link", name=SLICE).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/slices/{SLICE}")


def test_what_happens_elsewhere_shows_by_itself(page: "Page", lab: Lab) -> None:
    page.goto(f"/slices/{SLICE}")
    page.get_by_label("Autorenew until").fill("2031-01-01")  # what one types stays
    lab.svm("heal", SLICE, "on").must()
    page.get_by_role("button", name="Heal off").wait_for()
    lab.svm("heal", SLICE, "off").must()
    page.get_by_role("button", name="Heal on").wait_for()
    assert page.get_by_label("Autorenew until").input_value() == "2031-01-01"


def test_slices_that_come_and_go_show_by_themselves(page: "Page", lab: Lab) -> None:
    page.goto("/slices")
    row = page.get_by_role("row").filter(has_text="webmore")
    lab.create("webmore", lab.simulated[3:5]).must()
    row.get_by_text("2 of 2").wait_for()
    lab.svm("deleteslice", "webmore").must()
    row.wait_for(state="detached")


def test_a_slice_from_the_form_to_its_end(page: "Page", lab: Lab) -> None:
    page.goto("/new")
    page.get_by_label("Name").fill("Web New")
    page.get_by_text("is not a slice name").wait_for()  # as one types
    page.get_by_label("Name").fill("webnew")
    page.get_by_label("Nodes", exact=True).fill("1")
    page.get_by_label("Only on these nodes").fill(lab.real[1])
    page.locator(".chips").get_by_text(lab.real[1]).wait_for()
    page.get_by_text("What each VM is to have").click()
    page.get_by_label("Memory, MiB").fill("8")
    page.get_by_text("memory is 8; the least allowed is 16").wait_for()
    page.get_by_label("Memory, MiB").fill("128")
    page.get_by_label("CPU weight").fill("50")
    page.get_by_label("Agents").fill("nobody")
    page.locator("#preview .bad").wait_for()  # no such agent
    page.get_by_label("Agents").fill("dslice.planet-lab.org")
    page.locator(".chips").get_by_text(lab.real[1]).wait_for()
    sent = page.inner_text("#preview pre")
    for line in ("<name>webnew</name>", "<memory>128</memory>", "<cpu>50</cpu>"):
        assert line in sent
    commands = page.locator("#preview .command code").all_inner_texts()
    assert [line.split()[2:-1] for line in commands] == [
        ["--dry-run", "--agent", "dslice.planet-lab.org"],
        ["--agent", "dslice.planet-lab.org"],
    ]
    assert lab.svm("slices").out.count("webnew") == 0
    page.get_by_role("button", name="Create").click()
    done(page, "createslice")
    page.get_by_role("link", name="To the slice").click()
    page.get_by_text("each VM with memory 128 MiB, cpu 50").wait_for()
    page.locator("#keys li").wait_for()
    key = str(lab.home / "users" / "pi@testbed.example" / "id_ed25519")
    assert lab.svm("ssh", "-i", key, "webnew", lab.real[1], "whoami").must().out == "webnew\n"
    page.get_by_label("type its name").fill("wrong")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("alert").get_by_text("nothing was deleted").wait_for()
    page.go_back()
    page.get_by_label("type its name").fill("webnew")
    page.get_by_role("button", name="Delete").click()
    done(page, "deleteslice")
    assert "webnew" not in lab.svm("slices").must().out


def test_leases_autorenew_heal_and_delegation(page: "Page", lab: Lab) -> None:
    page.goto(f"/slices/{SLICE}")
    page.get_by_role("button", name="Renew now").click()
    done(page, "renewslice")
    page.goto(f"/slices/{SLICE}")
    page.get_by_label("Autorenew until").fill("2031-01-01")
    page.get_by_role("button", name="Turn on").click()
    page.get_by_role("button", name="Autorenew off").wait_for()
    assert "2031-01-01" in lab.svm("--json", "autorenew", SLICE, "status").must().out
    page.locator(".timeline .renew").first.wait_for()
    page.get_by_role("button", name="Autorenew off").click()
    page.get_by_role("button", name="Autorenew off").wait_for(state="detached")
    page.get_by_role("button", name="Heal on").click()
    page.get_by_role("button", name="Heal off").click()
    page.get_by_role("button", name="Heal on").wait_for()
    page.get_by_role("button", name="Extend the delegation").click()
    page.get_by_text("The delegation ends").wait_for()


def test_keys_come_and_go(page: "Page", lab: Lab) -> None:
    page.goto(f"/slices/{SLICE}")
    page.get_by_text("Nobody can log in").wait_for()
    page.get_by_role("button", name="Add").first.click()  # those that plc has of the user
    done(page, "addkey")
    page.goto(f"/slices/{SLICE}")
    page.get_by_role("button", name="Remove the key").click()
    done(page, "delkey")
    page.goto(f"/slices/{SLICE}")
    page.get_by_text("Paste a key").click()
    page.get_by_label("Public keys, one a line").fill("no key at all")
    page.locator("#paste").get_by_role("button", name="Add").click()
    page.get_by_role("alert").wait_for()
    public = (lab.home / "users" / "pi@testbed.example" / "id_ed25519.pub").read_text()
    page.goto(f"/slices/{SLICE}")
    page.get_by_text("Paste a key").click()
    page.get_by_label("Public keys, one a line").fill(public)
    page.locator("#paste").get_by_role("button", name="Add").click()
    done(page, "addkey")
    page.goto(f"/slices/{SLICE}")
    for button, verb in (("New key pair", "rekey"), ("Remove all keys", "nukekeys")):
        page.get_by_role("button", name=button).click()
        done(page, verb)
        page.goto(f"/slices/{SLICE}")
    page.get_by_text("Nobody can log in").wait_for()


def test_a_node_that_fails_its_log_and_what_mends_it(page: "Page", lab: Lab) -> None:
    good, bad = lab.simulated[5:7]
    lab.fault(bad, "refuse")
    try:
        page.goto(f"/new?name=webfails&numnodes=2&length=1&unit=hours&ips={good}+{bad}")
        page.get_by_role("button", name="Create").click()
        page.get_by_role("heading", level=1, name="createslice partial").wait_for()
        row = page.get_by_role("row").filter(has_text=bad)
        assert "failed" in row.inner_text()
        row.locator("summary").click()
        assert "newleases: failed, connection refused" in row.locator(".log").inner_text()
        assert f"svm newleases webfails {bad}" in page.inner_text("#hints")
    finally:
        lab.fault(bad, "ok")
    page.get_by_role("link", name="To the slice").click()
    page.get_by_role("link", name="something wrong 1").click()
    page.wait_for_url("**show=wrong*")
    page.locator(".cell").first.wait_for()
    assert page.locator(".cell").count() == 1
    page.get_by_role("button", name="Redeem tickets").click()
    done(page, "newleases")
    page.goto(f"/nodes/{bad}")  # for this node alone
    page.get_by_role("button", name="Make the VM: webfails").click()
    done(page, "newvms")
    page.goto("/slices/webfails/history?only=failed")
    assert page.locator(".timeline .row").count() == 1
    lab.svm("deleteslice", "webfails").must()


def test_an_operation_is_cancelled_and_what_lacks_is_made(page: "Page", lab: Lab) -> None:
    good, bad = lab.simulated[7:9]
    lab.fault(bad, "blackhole")
    try:
        page.goto(f"/new?name=webstops&numnodes=2&length=1&unit=hours&ips={good}+{bad}")
        page.get_by_role("button", name="Create").click()
        page.get_by_role("row").filter(has_text=good).get_by_text("ok").wait_for()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("heading", level=1, name="createslice cancelled").wait_for()
    finally:
        lab.fault(bad, "ok")
    page.goto("/slices/webstops")
    page.get_by_role("button", name="Make what is lacking").click()
    done(page, "createslice")
    lab.svm("deleteslice", "webstops").must()


def test_a_command_is_copied(browser: "Browser", web: Served, lab: Lab) -> None:
    with entered(browser, web, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto(f"/slices/{SLICE}")
        page.locator("#login").get_by_role("button", name="Copy").first.click()
        page.get_by_role("button", name="Copied").wait_for()
        copied = page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(rf"svm ssh {SLICE} \S+", copied)


def test_nodes_by_site_and_by_room(page: "Page", lab: Lab) -> None:
    page.goto("/nodes")
    assert page.locator("#list tbody tr").count() == len(lab.real) + len(lab.simulated)
    page.locator("#sites").get_by_role("link").first.click()
    page.wait_for_url(re.compile(r"/nodes\?"))
    page.locator("#list tbody tr").first.wait_for()
    assert 0 < page.locator("#list tbody tr").count() < len(lab.real) + len(lab.simulated)
    page.get_by_role("link", name="without").click()
    page.get_by_text("No node fits").wait_for()
    page.goto(f"/nodes/{lab.real[0]}")
    assert SLICE in page.inner_text("#mine")


def test_the_end_of_svm_web_is_said(browser: "Browser", lab: Lab) -> None:
    with served(lab) as web:
        context = browser.new_context()
        page = context.new_page()
        page.goto(web.link)
        page.wait_for_url("**/slices")
    page.locator("#link").get_by_text("svm web").wait_for()
    context.close()


def test_a_vm_is_stopped_started_and_given_up(page: "Page", lab: Lab) -> None:
    if lab.svm("stop", "--help").status:
        pytest.skip("this svm has no verb stop")
    one, other = lab.simulated[9:11]
    lab.create("webpower", [one, other]).must()
    for button, verb in (("Stop", "stop"), ("Start", "start"), ("Restart", "restart")):
        page.goto(f"/nodes/{one}")
        page.get_by_role("button", name=f"{button}: webpower").click()
        done(page, verb)
    page.goto("/slices/webpower")
    power = page.locator("#chosen")
    power.get_by_role("button", name="Stop").click()
    page.get_by_role("alert").get_by_text("nothing was done").wait_for()  # of which nodes, it does not guess
    page.goto("/slices/webpower")
    page.get_by_label(f"choose {one}").check()
    lab.svm("stop", "webpower", other).must()
    page.locator(".cell.s-stopped").wait_for()
    assert page.get_by_label(f"choose {one}").is_checked()  # what is ticked stays
    power.get_by_text("Reset …").click()
    power.get_by_text("is lost").wait_for()
    power.get_by_role("button", name="Reset now").click()
    done(page, "reset")
    page.goto("/slices/webpower")
    page.get_by_label("all nodes").check()
    power.get_by_role("button", name="Stop").click()
    done(page, "stop")
    page.goto("/slices/webpower")
    page.get_by_label(f"choose {other}").check()
    power.get_by_text("Give back …").click()
    power.get_by_role("button", name="Give back now").click()
    done(page, "shrink")
    status = lab.svm("status", "webpower").out.split()
    assert (one in status, other in status) == (True, False)
    lab.svm("deleteslice", "webpower").must()
