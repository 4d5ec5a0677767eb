"""The two servers of the bench, the keys in each client's own format, and a home that is nobody's."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.clients import server
from tests.clients.client import Door
from tests.clients.doing import free_port
from tests.integration.frontdoor.conftest import (
    CONFIG,
    Node,
    agent,  # noqa: F401 - pytest finds it here
    front_door,
    real_sshd,
    sshd_program,
)

HOSTS = """\
Host door again
    HostName {address}
    Port {port}
    User {login}
    IdentityFile {key}
"""


@pytest.fixture(scope="package", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What clients keep (known hosts, seeds of random numbers) is theirs to keep here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        yield


@pytest.fixture(scope="package")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A node's front door."""
    with front_door(tmp_path_factory.mktemp("node")) as node:
        key = str(node.key)
        if shutil.which("puttygen"):
            subprocess.run(["puttygen", key, "-O", "private", "-o", f"{key}.ppk"], check=True)
        if shutil.which("dropbearconvert"):
            convert = ["dropbearconvert", "openssh", "dropbear", key, f"{key}.dropbear"]
            subprocess.run(convert, check=True, capture_output=True)
        yield as_door("front door", node)


@pytest.fixture(scope="package")
def sshd(front: Door) -> Iterator[Door]:
    """A real sshd inside the same sliver, where root can start it; else beside it, for whoever runs these tests."""
    started = sshd_inside if front.node.driver.name == "machine" else real_sshd
    with started(front.node) as node:
        yield as_door("sshd", node)


@pytest.fixture(params=["front", "sshd"])
def door(request: pytest.FixtureRequest) -> Door:
    """The front door, and the sshd that must do the same."""
    made: Door = request.getfixturevalue(request.param)
    return made


@contextlib.contextmanager
def sshd_inside(node: Node) -> Iterator[Node]:
    program = sshd_program()
    port = free_port()
    prepare = server.prepare(node.key.with_suffix(".pub").read_text())
    done = node.ssh(prepare, input=server.CONFIG.format(port=port).encode())
    assert done.returncode == 0, done.stderr
    public = node.ssh("cat /etc/ssh/bench_key.pub").stdout.decode()
    with (node.folder / "known_hosts").open("a") as file:
        file.write(f"[127.0.0.1]:{port} {public}")
    with node.start(server.start(program)) as daemon:
        assert b"listening" in daemon.stderr.readline()
        yield dataclasses.replace(node, port=port)


def as_door(name: str, node: Node) -> Door:
    config = node.folder / f"config-{node.port}"
    hosts = HOSTS.format(address=node.address, port=node.port, login=node.login, key=node.key)
    config.write_text(hosts + CONFIG.format(known_hosts=node.folder / "known_hosts"))
    known = (node.folder / "known_hosts").read_text().splitlines()
    blob = next(line.split()[2] for line in known if line.startswith(f"[{node.address}]:{node.port} "))
    digest = base64.b64encode(hashlib.sha256(base64.b64decode(blob)).digest()).decode().rstrip("=")
    (node.folder / f"fingerprint-{node.port}").write_text(f"SHA256:{digest}")
    return Door(name, node, config)
