"""`svm web` without a browser: who it lets in, what its pages say as data, and how it ends."""

import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.acceptance.browsing import Served, served
from tests.acceptance.lab import BIN, DONE, INTERRUPTED, NOT_ALLOWED, OTHER_PI, USAGE, Lab, interrupt, until

SLICE = "webdata"
IN_A_TERMINAL = """
import os, sys
os.login_tty(int(sys.argv[1]))
os.execv(sys.argv[2], ["svm", "web", "--no-browser"])
"""


@pytest.fixture(scope="module")
def web(lab: Lab) -> Iterator[Served]:
    """Entered already, with a slice on two nodes."""
    lab.create(SLICE, lab.simulated[:2]).must()
    with served(lab) as found:
        assert found.enter().status == 200
        yield found
    lab.svm("deleteslice", SLICE).must()


def test_the_link_works_once_and_nothing_else_does(lab: Lab) -> None:
    with served(lab) as web:
        assert web.ask("GET", "/slices").status == 401
        assert web.ask("HEAD", web.link.removeprefix(web.base)).status == 204  # a look does not use it up
        assert web.ask("GET", "/enter/wrong").status == 401
        assert web.enter().status == 200
        again = web.ask("GET", web.link.removeprefix(web.base))
        assert (again.status, "has been used" in again.text) == (401, True)
        assert "set-cookie" not in again.headers
        assert web.ask("GET", "/slices").status == 200
        assert web.ask("GET", "/slices", Cookie=web.cookie[:-1]).status == 401


def test_another_name_of_this_machine_is_refused(web: Served) -> None:
    port = web.address.rpartition(":")[2]
    for host in ("evil.example", f"evil.example:{port}", f"localhost:{port}", "127.0.0.1"):
        found = web.ask("GET", "/slices", Host=host)
        assert (found.status, SLICE in found.text) == (421, False)


def test_no_other_site_changes_anything(lab: Lab, web: Served) -> None:
    port = int(web.address.rpartition(":")[2])
    for origin in ("https://evil.example", f"http://127.0.0.1:{port + 1}", "null", ""):
        found = web.ask("POST", f"/slices/{SLICE}/deleteslice", f"name={SLICE}", Origin=origin)
        assert (found.status, "nothing was done" in found.text) == (403, True)
    assert web.ask("GET", f"/slices/{SLICE}/deleteslice?name={SLICE}").status == 405
    assert web.ask("POST", f"/slices/{SLICE}/renewslice", "{}", Content_Type="text/plain").status == 400
    operations = json.loads(web.ask("GET", f"/slices/{SLICE}?format=json").text)["operations"]
    assert [each["verb"] for each in operations] == ["createslice"]


def test_answers_say_what_a_browser_may_do_with_them(web: Served) -> None:
    for path in ("/slices", f"/slices/{SLICE}", "/nothing", "/static/app.js", "/enter/wrong"):
        headers = web.ask("GET", path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers


def test_it_listens_on_loopback_only(web: Served) -> None:
    port = int(web.address.rpartition(":")[2])
    with open("/proc/net/tcp") as table:
        listening = [line.split()[1] for line in table if line.split()[3] == "0A"]
    assert [each for each in listening if each.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_of_the_machine_cannot_use_the_link(lab: Lab) -> None:
    with served(lab) as web:
        host, _, port = web.address.partition(":")
        request = f"GET {web.link.removeprefix(web.base)} HTTP/1.1\r\nHost: {web.address}\r\nConnection: close\r\n\r\n"
        code = 'exec 3<>"/dev/tcp/$1/$2"; printf %s "$3" >&3; cat <&3'
        asked = ["bash", "-c", code, "-", host, port, request]
        ended = subprocess.run(asked, user=65534, cwd="/", capture_output=True, text=True)
        assert ended.stdout.startswith("HTTP/1.1 403")
        assert "for you alone" in ended.stdout
        assert web.enter().status == 200


def test_every_page_is_data_too(lab: Lab, web: Served) -> None:
    found = json.loads(web.ask("GET", f"/slices/{SLICE}?format=json").text)
    operation = found["operations"][0]["operation"]
    assert {each["node"] for each in found["nodes"]} == set(lab.simulated[:2])
    node = lab.simulated[0]
    lab.svm("createslice", lab.slice_file("webother", 1, [node]), user=OTHER_PI).must()
    pages = ("/slices", f"/slices/{SLICE}/history", f"/operations/{operation}", "/nodes", f"/nodes/{node}", "/new")
    told = {path: json.loads(web.ask("GET", f"{path}?format=json").text) for path in pages}
    assert SLICE in [each["name"] for each in told["/slices"]["slices"]]
    assert told[f"/operations/{operation}"]["operation"]["outcome"] == "done"
    assert told[f"/operations/{operation}"]["states"] == {"ok": 2}
    assert sum(site["nodes"] for site in told["/nodes"]["sites"]) == len(lab.real) + len(lab.simulated)
    assert [each["slice"] for each in told[f"/nodes/{node}"]["slivers"]] == [SLICE]
    for path in pages:
        assert web.ask("GET", path).status == 200
    lab.svm("deleteslice", "webother", user=OTHER_PI).must()


def test_what_is_not_there_says_so(web: Served) -> None:
    for path in ("/nothing", "/slices/nosuch", "/slices/No%20Such", "/operations/00000000-0000-0000-0000-000000000000"):
        found = web.ask("GET", path)
        assert found.status in (400, 404)
        assert "To the slices" in found.text
        error = json.loads(web.ask("GET", f"{path}?format=json").text)
        assert set(error) == {"code", "reason"}
    assert web.ask("GET", "/operations/nosense").status in (400, 404)
    assert web.ask("GET", "/nodes/203.0.113.9").status == 404
    assert web.ask("POST", f"/slices/{SLICE}/nonsense", "").status == 404
    assert web.ask("POST", "/new", "name=" + "x" * 300_000).status == 400


def test_what_a_page_names_is_only_text(web: Served) -> None:
    found = web.ask("GET", "/new?name=%3Cscript%3Ealert(1)%3C/script%3E&numnodes=%22%3E%3Cb%3E")
    assert "<script>alert" not in found.text
    assert '"><b>' not in found.text


def test_a_form_that_is_wrong_comes_back_with_what_is_wrong(web: Served) -> None:
    found = web.ask("POST", "/new", "name=Bad+Name&numnodes=0&length=99&unit=days")
    assert found.status == 400
    assert 'value="Bad Name"' in found.text
    assert len(re.findall(r'class="wrong"[^>]*>[^<]', found.text)) == 3


def test_a_slice_that_is_there_is_not_made_again_smaller(lab: Lab, web: Served) -> None:
    found = web.ask("POST", "/new", f"name={SLICE}&numnodes=1&length=1&unit=days")
    assert (found.status, "already" in found.text) == (400, True)
    assert len(lab.svm("nodelist", SLICE).must().lines) == 2


def test_it_ends_with_its_terminal(lab: Lab) -> None:
    ours, theirs = pty.openpty()
    environment = lab._shell("pi@testbed.example", {})
    command = [str(BIN / "python"), "-c", IN_A_TERMINAL, str(theirs), str(BIN / "svm")]
    process = subprocess.Popen(command, env=environment, pass_fds=[theirs])
    os.close(theirs)
    said = b""
    while b"\n" not in said:
        said += os.read(ours, 1000)
    assert b"/enter/" in said
    os.close(ours)
    process.wait(60)


def test_ctrl_c_ends_it_and_its_port_is_free(lab: Lab) -> None:
    process = lab.begin("svm", "web", "--no-browser")
    assert process.stdout is not None
    until(lambda: bool(os.read(process.stdout.fileno(), 1)))  # type: ignore[union-attr]
    assert interrupt(process).status in (DONE, INTERRUPTED)


def test_what_is_wrong_is_said_in_the_terminal(lab: Lab, web: Served) -> None:
    port = web.address.rpartition(":")[2]
    taken = lab.svm("web", "--no-browser", "--port", port).must(USAGE)
    assert "already in use" in taken.err
    assert "leave --port out" in taken.err
    lab.run("svm", "web", "--no-browser", DSLICE_PLC_URL="https://127.0.0.1:1", PLANETLAB_HOME="/nowhere").must(
        NOT_ALLOWED
    )
