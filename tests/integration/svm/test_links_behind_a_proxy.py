"""The page behind the web server that docs/letters.md shows, with a certificate of another CA than plc's."""

import http.client
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from rpc.credentials import CERTIFICATE, KEY, ROOT, Credentials
from rpc.server import Listener
from rpc.tls import page_context
from svm.service.links import create_pages
from tests.integration.svm.conftest import Lab, Running, served
from trust.certificates import Authority, certificate_to_pem, key_to_pem, new_private_key
from trust.identity import Identity, Role

PAGE = Path(__file__).parents[3] / "docs/letters.md"
KINDS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
NAME, INNER = "slices.example.org", "svm.example.org"

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: apt-get install nginx-light")


def certified(lab: Lab, authority: Authority, name: str) -> Credentials:
    key = new_private_key(Role.SVM)
    now = lab.clock.now()
    made = authority.issue(Identity(Role.SVM, "svm"), key.public_key(), now=now, lifetime=3600, addresses=(name,))
    found = Credentials(lab.directory / f"named-{made.serial_number:x}")
    root = certificate_to_pem(authority.certificate)
    found.save(key_pem=key_to_pem(key), certificate_pem=certificate_to_pem(made), ca_pem=root)
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@pytest.fixture
def proxy(svmd: Running, lab: Lab, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Its port, and the root that a browser trusts."""
    inside = certified(lab, lab.authority, INNER)
    outside = certified(lab, Authority.create(lab.clock.now() - timedelta(days=1)), NAME)
    listener = Listener(create_pages(svmd.service), "127.0.0.1", 0, page_context(inside), "links")
    with served(listener) as (_, port):
        outer = free_port()
        shown = re.search(r"```nginx\n(.*?)```", PAGE.read_text(), re.DOTALL)
        assert shown
        server = shown.group(1)
        for said, here in {
            "listen 443 ssl": f"listen 127.0.0.1:{outer} ssl",
            f"/etc/letsencrypt/live/{NAME}/fullchain.pem": str(outside.directory / CERTIFICATE),
            f"/etc/letsencrypt/live/{NAME}/privkey.pem": str(outside.directory / KEY),
            "https://127.0.0.1:7446": f"https://127.0.0.1:{port}",
            "/etc/dslice/ca.pem": str(inside.directory / ROOT),
        }.items():
            assert said in server
            server = server.replace(said, here)
        with nginx(tmp_path, server):
            wait_for(outer)
            yield outer, outside.directory / ROOT


@contextmanager
def nginx(folder: Path, server: str) -> Iterator[None]:
    """A server with this configuration, until the end of the block."""
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in KINDS)
    head = f"daemon off; pid {folder}/pid; error_log {folder}/errors;\nevents {{}}\n"
    path, errors = folder / "nginx.conf", str(folder / "errors")
    path.write_text(f"{head}http {{ access_log off;\n{temporary}{server}}}\n")
    argv = ["nginx", "-p", str(folder), "-c", str(path), "-e", errors]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int) -> None:
    while True:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)


def ask(port: int, root: Path, path: str) -> tuple[int, str]:
    """As a browser that trusts this root and finds the name at loopback."""
    context = ssl.create_default_context(cafile=str(root))
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30)
    plain = socket.create_connection(("127.0.0.1", port))
    connection.sock = context.wrap_socket(plain, server_hostname=NAME)
    try:
        connection.request("GET", path, headers={"Host": NAME})
        found = connection.getresponse()
        return found.status, found.read().decode()
    finally:
        connection.close()


def test_the_page_and_nothing_else(proxy: tuple[int, Path]) -> None:
    port, root = proxy
    status, text = ask(port, root, "/extend/" + "A" * 55)
    assert status == 404
    assert "This link is not whole." in text
    for other in ("/slices", "/healthz", "/"):
        status, text = ask(port, root, other)
        assert status in (403, 404)
        assert "nginx" in text  # its own answer: it is not passed on
