"""Links in letters: the page behind them, which asks for no certificate, and what nothing else may be asked without."""

import http.client
import re
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import Engine

from lifecycle.letters import deadline_of
from lifecycle.links import PATH, Link
from lifecycle.notices import announce
from lifecycle.outbox import take
from lifecycle.outcome import Failed
from lifecycle.seal import Seal
from models.states import Kind
from rpc.credentials import Credentials
from rpc.server import Listener
from rpc.tls import client_context, page_context
from svm.service.api import create_app
from svm.service.links import create_pages
from tests.integration.svm.conftest import Lab, Running, Svm, failing, served, succeed
from trust.certificates import Authority, certificate_to_pem
from trust.errors import Code
from trust.identity import Identity, Role

HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def said(self) -> str:
        """What a reader sees, in one line."""
        inline = re.sub("<style>.*</style>|</?(b|code)>", "", self.text, flags=re.DOTALL)
        return unescape(" ".join(re.sub("<[^>]+>", " ", inline).split()))


@dataclass
class Pages:
    """A reader's browser, which has nothing but the CA's root, and svmd's owner's view beside."""

    port: int
    root: str
    database: Engine
    seal: Seal

    def ask(self, method: str, path: str, credentials: Credentials | None = None) -> Answer:
        context = client_context(credentials, ca_pem=self.root)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=30)
        try:
            connection.request(method, path)
            found = connection.getresponse()
            headers = {name.lower(): value for name, value in found.getheaders()}
            return Answer(found.status, headers, found.read().decode())
        finally:
            connection.close()

    def letter(self) -> Link:
        """The one that tells that the leases end."""
        self.execute("UPDATE svm.sliver SET expires_at = date_trunc('second', now()) + interval '20 hours'")
        with self.database.begin() as connection:
            announce(connection)
            (one,) = take(connection, letters=True)
        assert one.may_renew
        return Link(one.slice, deadline_of(one), int(one.body["days"]))

    def path(self, link: Link) -> str:
        return PATH + link.signed(self.seal)

    def execute(self, statement: str) -> None:
        with self.database.begin() as connection:
            connection.exec_driver_sql(statement)

    def rows(self, query: str) -> list[object]:
        with self.database.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def after_the_end(self, link: Link) -> str:
        """What the page says once the renewal has ended."""
        while self.rows("SELECT 1 FROM svm.operation WHERE ended_at IS NULL"):
            time.sleep(0.02)
        return self.ask("GET", self.path(link)).said

    def renewals(self) -> int:
        return len(self.rows("SELECT 1 FROM svm.operation WHERE verb = 'renewslice'"))


@pytest.fixture
def pages(svmd: Running, database: Engine) -> Iterator[Pages]:
    listener = Listener(create_pages(svmd.service), "127.0.0.1", 0, page_context(svmd.service.credentials), "links")
    with served(listener) as (_, port):
        yield Pages(port, certificate_to_pem(svmd.lab.authority.certificate), database, svmd.service.seal)


@pytest.fixture
def link(pages: Pages, svm: Svm, week: Path) -> Link:
    """Of a slice of three nodes that its owner made with the command line."""
    assert svm("createslice", week) == 0
    return pages.letter()


@pytest.fixture
def week(tmp_path: Path) -> Path:
    path = tmp_path / "demo.xml"
    path.write_text("<slice><name>demo</name><numnodes>3</numnodes><leaselen>604800</leaselen></slice>")
    return path


def test_what_the_page_and_the_letter_say_can_be_typed(pages: Pages, link: Link, svm: Svm) -> None:
    said = pages.ask("GET", pages.path(link)).said
    assert "svm renewslice demo. To have it renew itself: svm autorenew demo on." in said
    assert svm("renewslice", "demo") == 0
    assert svm("autorenew", "demo", "on") == 0
    assert pages.rows("SELECT autorenew FROM svm.slice") == [(True,)]


def test_looking_changes_nothing_and_the_button_extends(pages: Pages, link: Link) -> None:
    path = pages.path(link)
    for _ in range(2):
        shown = pages.ask("GET", path)
        assert shown.status == 200
        assert f"The first lease of demo ends at {link.deadline:%Y-%m-%d %H:%M:%S} UTC, in 19 hours" in shown.said
        assert "renews the leases of its 3 nodes: each then lasts until about" in shown.said
        assert "svm renewslice demo" in shown.said
        assert "svm autorenew demo on" in shown.said
    assert pages.renewals() == 0
    pressed = pages.ask("POST", path)
    assert pressed.status == 303
    assert pressed.headers["location"] == path.removeprefix(PATH)
    after = pages.after_the_end(link)
    assert "works once. The leases of all 3 nodes of demo were renewed. The first lease now ends at" in after
    assert "<form" not in pages.ask("GET", path).text
    assert pages.rows("SELECT verb, outcome, ok FROM svm.operation WHERE actor = 'letter'") == [
        ("renewslice", "done", 3)
    ]


def test_a_page_is_plain_and_tells_nobody(pages: Pages, link: Link) -> None:
    """Readable without JavaScript, nothing loaded from anywhere, and one form that goes where the page came from."""
    page = pages.ask("GET", pages.path(link))
    assert HEADERS.items() <= page.headers.items()
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    seen = Tags()
    seen.feed(page.text)
    assert not {"script", "img", "link", "iframe"} & {name for name, _ in seen.found}
    (form,) = [attributes for name, attributes in seen.found if name == "form"]
    assert form == {"method": "post"}
    assert [attributes for name, attributes in seen.found if name == "button"] == [{"type": "submit"}]
    assert not [attributes for _, attributes in seen.found if attributes.keys() & {"src", "href", "onclick", "style"}]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_second_time_it_does_nothing(pages: Pages, link: Link) -> None:
    path = pages.path(link)
    assert pages.ask("POST", path).status == 303
    again = pages.ask("POST", path)
    assert again.status == 410
    assert re.fullmatch(r".* This link was used at [-\d]+ [:\d]+ UTC, and works once\.", again.said)
    assert pages.renewals() == 1


def test_pressed_twice_at_once_it_acts_once(pages: Pages, link: Link) -> None:
    path = pages.path(link)
    with ThreadPoolExecutor(8) as pool:
        found = sorted(answer.status for answer in pool.map(lambda _: pages.ask("POST", path), range(8)))
    assert found == [303] + [410] * 7
    assert pages.renewals() == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_after_the_deadline(pages: Pages, link: Link, svm: Svm, method: str) -> None:
    past = replace(link, deadline=link.deadline - timedelta(hours=21))
    pages.execute("UPDATE svm.notice SET deadline = deadline - interval '21 hours'")
    answer = pages.ask(method, pages.path(past))
    assert answer.status == 410
    assert "when the first lease of demo ended. Leases that last longer: 3." in answer.said
    assert answer.said.endswith("To renew them: svm renewslice demo.")
    assert svm("renewslice", "demo") == 0
    pages.execute("UPDATE svm.sliver SET expires_at = now() - interval '1 hour'")
    answer = pages.ask(method, pages.path(past))
    assert "No lease is left: svm createslice with the same file makes the VMs anew." in answer.said
    assert pages.rows("SELECT actor FROM svm.operation WHERE verb = 'renewslice'") == [("user",)]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_slice_that_was_deleted(pages: Pages, link: Link, svm: Svm, week: Path, method: str) -> None:
    assert svm("deleteslice", "demo") == 0
    for _ in range(2):
        answer = pages.ask(method, pages.path(link))
        assert answer.status == 410
        assert answer.said.endswith("The slice demo was deleted, so there is nothing to extend.")
        svm("createslice", week)  # another slice of that name is not the one of the letter
    assert pages.renewals() == 0


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_links_that_are_not_ours(pages: Pages, link: Link, svm: Svm, method: str) -> None:
    good = pages.path(link)
    other = replace(link, slice=link.slice.__class__(int=link.slice.int ^ 1))
    later = replace(link, deadline=link.deadline + timedelta(days=300))
    for wrong in (
        good[:-1],
        good + "A",
        PATH + "x",
        PATH + "A" * 200,
        PATH + "A" * 300,
        PATH + "%00",
        PATH,
        "/",
        PATH + link.signed(Seal(b"1" * 32)),
        good[:-24] + pages.path(later)[-24:],
        pages.path(other)[:-24] + good[-24:],
    ):
        answer = pages.ask(method, wrong)
        assert answer.status in (400, 404), wrong
        assert "<form" not in answer.text
    answer = pages.ask(method, good[:-1])
    assert "This link is not whole. Copy all of it from the letter, or type svm renewslice" in answer.said
    answer = pages.ask(method, pages.path(other))  # signed, but no such letter was written
    assert answer.status == 410
    assert "from a letter that is long forgotten. svm slices shows your slices." in answer.said
    assert pages.renewals() == 0
    assert svm("slices") == 0
    assert svm("renewslice", "demo") == 0


def test_without_the_owner_s_permission(pages: Pages, link: Link, svm: Svm) -> None:
    assert svm("undelegate", "demo") == 0
    for method in ("GET", "POST"):
        answer = pages.ask(method, pages.path(link))
        assert answer.status == 410
        assert "permission for links has ended or was withdrawn. Type svm renewslice demo" in answer.said
    assert pages.renewals() == 0
    assert svm("renewslice", "demo") == 0
    assert pages.ask("POST", pages.path(link)).status == 303


def test_an_owner_whose_certificate_was_revoked(pages: Pages, link: Link, svmd: Running, home: Path) -> None:
    svmd.lab.revoke(Credentials(home).certificate)
    answer = pages.ask("POST", pages.path(link))
    assert answer.status == 401
    assert "revoked" in answer.said
    assert pages.rows("SELECT used_at FROM svm.notice") == [(None,)]


def test_while_something_else_is_under_way_the_link_stays_good(
    pages: Pages, link: Link, svmd: Running, svm: Svm
) -> None:
    svmd.worker.idle = True
    pages.execute(
        "INSERT INTO svm.operation (slice, slice_name, verb, queue, owner, actor, parallelism, connect_timeout, batch,"
        " open_steps) SELECT id, name, 'renewslice', 'renewals', owner, 'beat', 1, 1, 1, 1 FROM svm.slice"
    )
    answer = pages.ask("POST", pages.path(link))
    assert answer.status == 409
    assert "renewslice is under way on demo" in answer.said
    pages.execute(
        "UPDATE svm.operation SET open_steps = 0, outcome = 'failed', ended_at = now() WHERE ended_at IS NULL"
    )
    assert pages.ask("POST", pages.path(link)).status == 303
    assert "are being renewed; load this page again" in pages.ask("GET", pages.path(link)).said
    svmd.worker.resume()
    assert "all 3 nodes of demo were renewed" in pages.ask("GET", pages.path(link)).said


def test_what_could_not_be_extended_is_said(pages: Pages, link: Link, svmd: Running, svm: Svm) -> None:
    svmd.worker.results = failing(Kind.RENEW, {"127.0.1.2": Failed(Code.UNREACHABLE, "no answer")})
    assert pages.ask("POST", pages.path(link)).status == 303
    said = pages.after_the_end(link)
    assert "The leases of 2 of 3 nodes of demo were renewed." in said
    assert "For the others: svm renewslice demo." in said
    svmd.worker.results = succeed
    assert svm("renewslice", "demo") == 0
    pages.execute("DELETE FROM svm.operation")  # forgotten after a year
    assert "svm status demo shows how it stands." in pages.after_the_end(link)
    assert svm("status", "demo") == 0


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS"])
def test_nothing_else_is_done_with_a_link(pages: Pages, link: Link, method: str) -> None:
    assert pages.ask(method, pages.path(link)).status == 405
    assert pages.renewals() == 0


def calls(svmd: Running) -> list[tuple[str, str]]:
    """Every call of svmd's, with something in the place of what varies."""
    found = [
        (method, context.path)
        for context in iter_route_contexts(create_app(svmd.service).routes)
        for method in sorted(context.methods or ())
    ]
    return [(method, re.sub(r"\{[^}]+\}", "00000000-0000-0000-0000-000000000000", str(path))) for method, path in found]


def test_nothing_of_svmd_s_is_there_without_a_certificate(svmd: Running, pages: Pages, link: Link, lab: Lab) -> None:
    """The matrix: each call at each of the two addresses, by whom it must not be made."""
    strange = Authority.create(lab.clock.now() - timedelta(days=1))
    stranger = lab.credentials(Identity.user("stranger@a.example"), pi=True, authority=strange)
    front = replace(pages, port=svmd.port)
    wanted = calls(svmd)
    assert len(wanted) > 15
    for method, path in [*wanted, ("GET", pages.path(link)), ("POST", pages.path(link))]:
        for caller in (None, stranger):
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
                front.ask(method, path, caller)
    for method, path in wanted:
        for caller in (None, lab.user(), lab.credentials(Identity(Role.PLC, "plc"))):
            assert pages.ask(method, path, caller).status in (404, 405), (method, path)


def test_a_link_is_nothing_where_svmd_answers(svmd: Running, pages: Pages, link: Link, lab: Lab) -> None:
    front = replace(pages, port=svmd.port)
    assert front.ask("POST", pages.path(link), lab.user("other@a.example")).status == 404
    assert pages.renewals() == 0
