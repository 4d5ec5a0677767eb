"""Who comes in to `svm web`, and who does not."""

from http.cookies import SimpleCookie

import pytest

from svm.web.door import HEADERS, Door
from trust.errors import Code, Refusal

ADDRESS = "127.0.0.1:4711"
ORIGIN = f"http://{ADDRESS}"


@pytest.fixture
def door() -> Door:
    return Door(ADDRESS, "svm web")


def headers(door: Door, **more: str) -> dict[str, str]:
    """Of a browser that has come in by the link."""
    cookie = SimpleCookie(door.enter(door.link.rpartition("/")[2]))
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return {"host": ADDRESS, "cookie": f"{door.cookie_name}={cookie[door.cookie_name].value}"} | named


def refusal(door: Door, method: str, path: str, given: dict[str, str]) -> Refusal:
    with pytest.raises(Refusal) as found:
        door.check(method, path, given)
    return found.value


def test_the_link_works_once(door: Door) -> None:
    word = door.link.rpartition("/")[2]
    door.enter(word)
    with pytest.raises(Refusal, match="has been used"):
        door.enter(word)
    with pytest.raises(Refusal, match="has been used"):
        door.enter("")


def test_a_wrong_link_does_not_use_it_up(door: Door) -> None:
    for wrong in ("", "x" * 43, door.link.rpartition("/")[2][:-1]):
        with pytest.raises(Refusal, match="wrong"):
            door.enter(wrong)
    assert door.enter(door.link.rpartition("/")[2])


def test_the_cookie_is_for_this_site_and_no_script(door: Door) -> None:
    cookie = SimpleCookie(door.enter(door.link.rpartition("/")[2]))[door.cookie_name]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, "Strict", "/", "")
    assert len(cookie.value) >= 43
    assert cookie.value not in door.link


def test_a_browser_that_has_come_in_may_read_and_change(door: Door) -> None:
    given = headers(door)
    door.check("GET", "/slices", given)
    door.check("POST", "/slices/demo/renewslice", given | {"origin": ORIGIN})


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:4711", "localhost:4711", "127.0.0.1", "127.0.0.1:80", ""]
)
def test_another_name_for_this_server_is_refused(door: Door, host: str) -> None:
    """DNS rebinding: evil.example resolves to 127.0.0.1, and the browser sends what it has for evil.example."""
    given = headers(door, host=host, origin=ORIGIN)
    for method, path in (("GET", "/slices"), ("POST", "/slices/demo/renewslice"), ("GET", "/static/app.js")):
        assert refusal(door, method, path, given).code is Code.NOT_ALLOWED


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://127.0.0.1:4712", "http://localhost:4711", "null", ""]
)
def test_another_site_changes_nothing(door: Door, origin: str) -> None:
    given = headers(door)
    assert "another site" in refusal(door, "POST", "/new", given).reason
    given["origin"] = origin
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert "another site" in refusal(door, method, "/slices/demo/deleteslice", given).reason


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_embeds_nothing(door: Door, site: str) -> None:
    given = headers(door, sec_fetch_site=site, sec_fetch_mode="no-cors")
    assert "gets nothing" in refusal(door, "GET", "/slices", given).reason
    door.check("GET", "/slices", given | {"sec-fetch-mode": "navigate"})


@pytest.mark.parametrize("cookie", ["", "dslice-4711=", "dslice-4711=wrong", "dslice-4712=x", "dslice-4711", "=;=;é"])
def test_without_the_cookie_nothing_is_shown(door: Door, cookie: str) -> None:
    given = {"host": ADDRESS, "cookie": cookie, "origin": ORIGIN}
    for method, path in (("GET", "/"), ("GET", "/slices"), ("POST", "/new"), ("GET", "/live"), ("GET", "/nothing")):
        found = refusal(door, method, path, given)
        assert (found.code, "svm web" in found.reason) == (Code.NOT_AUTHENTICATED, True)


def test_no_script_but_ours_runs() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
