"""`dslice web` in a real browser, on a testbed of its own: every page and button that the operator has."""

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
from tests.acceptance.lab import NOT_ALLOWED, OTHER_PI, PI, Lab, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MINE, THEIRS = "opmine", "optheirs"
REASON = "abuse of the network"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Six simulated nodes that look for orders each second; two owners have a slice each."""
    made = Lab(tmp_path_factory.mktemp("weboperator"))
    made.up(real=0, simulated=6, DSLICE_STOPS_SECONDS="1", DSLICE_USAGE_SECONDS="1", DSLICE_RECONCILE_SECONDS="3")
    try:
        made.create(MINE, made.simulated[:3]).must()
        made.create(THEIRS, made.simulated[1:3], user=OTHER_PI).must()
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def web(lab: Lab, browser: "Browser") -> Iterator[Served]:
    with served(lab, "dslice", "web") as found:
        come_in(browser, found)
        yield found


@pytest.fixture
def page(browser: "Browser", web: Served) -> Iterator["Page"]:
    with entered(browser, web) as found:
        yield found


def pages(web: Served) -> list[str]:
    """An address of each kind."""
    operation = web.data(f"/slices/{MINE}")["operations"][0]["operation"]
    of_slice = [f"/slices/{MINE}", f"/slices/{MINE}/history", f"/operations/{operation}"]
    return ["/slices", *of_slice, "/nodes", "/nodes?only=drained", "/nodes/s1", "/orphans", "/usage", "/nothing"]


@pytest.mark.parametrize("scheme", COLOURS)
def test_axe_finds_nothing_serious(browser: "Browser", web: Served, scheme: str) -> None:
    axe_finds_nothing_serious(browser, web, pages(web), scheme)


def test_no_page_is_wider_than_the_screen(browser: "Browser", web: Served) -> None:
    no_page_is_wider(browser, web, pages(web))


def test_only_who_has_the_link_comes_in_and_no_other_site_changes_anything(lab: Lab, web: Served) -> None:
    assert web.ask("GET", "/slices", Cookie="").status == 401
    assert "run dslice web for a new one" in web.ask("GET", "/slices", Cookie="").text
    assert web.ask("GET", "/slices", Host="evil.example").status == 421
    for path in (f"/slices/{MINE}/delete", f"/slices/{MINE}/evict", "/nodes/s1/drain", "/orphans/free"):
        body = f"name={MINE}&reason=x&node={lab.simulated[0]}&slice={MINE}"
        assert web.ask("POST", path, body, Origin="https://evil.example").status == 403
        assert web.ask("GET", f"{path}?{body}").status in (404, 405)
    assert len(lab.svm("nodelist", MINE).must().lines) == 3


def test_nobody_but_an_operator_runs_it(lab: Lab) -> None:
    refused = lab.run("dslice", "web", "--no-browser", "--as-me", user=PI).must(NOT_ALLOWED)
    assert "is not an admin" in refused.err
    assert refused.err.count("\n") == 1


def test_a_users_buttons_are_not_there(web: Served) -> None:
    for path in (f"/slices/{MINE}/renewslice", f"/slices/{MINE}/stop", "/new", "/operations/1/cancel"):
        assert web.ask("POST", path, "all=yes").status in (404, 405)


def test_slices_of_everybody_and_of_some(page: "Page", web: Served, lab: Lab) -> None:
    page.goto("/slices")
    page.get_by_role("row").filter(has_text=MINE).get_by_text(PI).wait_for()
    page.get_by_role("row").filter(has_text=THEIRS).get_by_text(OTHER_PI).wait_for()
    page.get_by_label("Owner", exact=True).fill(OTHER_PI)
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**owner=*")
    assert page.locator("tbody tr").count() == 1
    for query, names in (
        (f"owner={PI}", [MINE]),
        ("site=Princeton", [MINE]),
        (f"node={lab.simulated[0]}", [MINE]),
        ("node=s2", [MINE, THEIRS]),
        ("only=expired", []),
    ):
        assert [each["name"] for each in web.data(f"/slices?{query}")["slices"]] == names, query
    nodes = web.data(f"/slices/{THEIRS}")["nodes"]
    assert {each["node"] for each in nodes} == set(lab.simulated[1:3])
    assert web.data(f"/slices/{THEIRS}/history")["events"][0]["type"] == "ended"


def test_what_happens_shows_by_itself(page: "Page", lab: Lab) -> None:
    page.goto(f"/slices/{THEIRS}")
    page.get_by_text("createslice").wait_for()
    page.get_by_label(f"choose {lab.simulated[1]}").check()
    page.get_by_text("Evict from the ticked nodes").click()
    reason = page.get_by_label("Reason, which the owner reads")
    reason.fill(REASON)
    lab.svm("renewslice", THEIRS, user=OTHER_PI).must()
    page.get_by_role("link", name="renewslice").wait_for()
    assert reason.input_value() == REASON  # what one types and ticks stays
    assert page.get_by_label(f"choose {lab.simulated[1]}").is_checked()
    page.get_by_role("link", name="renewslice").click()
    page.get_by_role("heading", level=1, name="renewslice done").wait_for()
    assert page.get_by_role("button").count() == 0


def test_a_node_is_drained_and_takes_slivers_again(page: "Page", web: Served, lab: Lab) -> None:
    page.goto("/nodes")
    page.get_by_role("link", name="s3", exact=True).click()
    page.get_by_role("row").filter(has_text=THEIRS).get_by_text(OTHER_PI).wait_for()
    page.get_by_label("Reason").fill("new disk")
    page.get_by_label("Until").fill("2099-12-24")
    page.get_by_label("renew no lease").check()
    page.get_by_label("slices that heal get other nodes").check()
    page.get_by_role("button", name="Drain").click()
    page.get_by_text("It takes none until 2099-12-24").wait_for()
    page.get_by_text("not renewed. Slices that heal get other nodes").wait_for()
    lab.letter(OTHER_PI, "Node s3 takes no new slivers")
    assert "new disk until 2099-12-24" in lab.dslice("nodes", "--drained").must().out
    assert [each["name"] for each in web.data("/nodes?only=drained")["nodes"]] == ["s3"]
    page.get_by_role("button", name="Take new slivers again").click()
    page.get_by_text("It takes new slivers").wait_for()
    assert lab.dslice("nodes", "--drained").must().out == ""


def test_what_lacks_a_reason_is_not_done(web: Served, lab: Lab) -> None:
    node = lab.simulated[0]
    for path, body in (
        ("/nodes/s1/drain", "reason=+"),
        (f"/slices/{MINE}/evict", f"node={node}"),
        (f"/slices/{MINE}/delete", f"name={MINE}&reason="),
        (f"/slices/{MINE}/delete", "name=wrong&reason=x"),
        (f"/slices/{MINE}/evict", "reason=x"),
        ("/nodes/s1/drain", "reason=x&until=yesterday"),
    ):
        assert web.ask("POST", path, body).status == 400, (path, body)
    assert web.ask("POST", f"/slices/{MINE}/evict", "reason=x&node=203.0.113.9").status == 404
    assert web.ask("POST", "/nodes/s99/drain", "reason=x").status == 404
    assert web.ask("POST", "/orphans/free", f"reason=x&node=s1&slice={MINE}").status == 404
    assert len(lab.svm("nodelist", MINE).must().lines) == 3


def test_slivers_are_evicted_and_a_slice_is_deleted(page: "Page", lab: Lab) -> None:
    first, second, third = lab.simulated[:3]
    lab.svm("stop", MINE, third).must()
    page.goto(f"/slices/{MINE}")
    for node in (first, second):
        page.get_by_label(f"choose {node}").check()
    page.get_by_text("Evict from the ticked nodes").click()
    page.get_by_label("Reason, which the owner reads").fill(REASON)
    page.get_by_role("button", name="Evict").click()
    page.get_by_role("heading", level=1, name=f"Evict {MINE}").wait_for()
    page.get_by_text("2 of 2 nodes have obeyed").wait_for()
    lab.letter(PI, f"{MINE}: slivers removed by the operator")
    page.goto(f"/slices/{MINE}")
    page.get_by_label("Reason", exact=True).fill(REASON)
    page.get_by_label("type its name").fill(MINE)
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("heading", level=1, name=f"Delete {MINE}").wait_for()
    page.get_by_text(re.compile(r"([1-3]) of \1 nodes have obeyed")).wait_for()
    page.get_by_role("row").filter(has_text="s3").get_by_text("has obeyed").wait_for()  # where its VM was stopped
    lab.letter(PI, f"{MINE}: deleted by the operator")
    assert REASON in lab.dslice("plc", "history", PI).must().out


def test_all_nodes_are_asked_for_orphans(page: "Page") -> None:
    page.goto("/orphans")
    page.get_by_role("button", name="Ask all nodes").click()
    page.get_by_text("0 orphans").wait_for()


def test_usage(page: "Page", web: Served) -> None:
    until(lambda: any(one["of"] == THEIRS for one in web.data("/usage?by=slice")["totals"]))
    page.goto("/usage")
    page.get_by_label("A total for each").select_option("slice")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("row").filter(has_text=THEIRS).get_by_text(OTHER_PI).wait_for()
    assert "is not a date" in web.data("/usage?since=soon")["wrong"]
