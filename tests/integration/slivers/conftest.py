"""Slivers of every keeper driver that works on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shlex
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from nodemgr.slivers.drivers.choice import open_driver
from nodemgr.slivers.drivers.driver import TERMS, Driver, SliverSpec, Terms
from nodemgr.slivers.drivers.podman import PodmanDriver
from nodemgr.slivers.limits import hostranges
from trust.errors import Refusal
from trust.sshkeys import new_ssh_key_pair

T = TypeVar("T")
DRIVERS = tuple(os.environ.get("DSLICE_TEST_DRIVERS", "machine bubblewrap unshare podman").split())
ROOTED = tuple(driver for driver in DRIVERS if driver in ("machine", "podman"))
"""Those whose slivers have root inside."""


def run_async(work: Coroutine[object, object, T]) -> T:
    """A driver's life-cycle call from a test that is not async itself."""
    return asyncio.run(work)


@dataclass
class Node:
    """One driver over a folder of its own; `make` adds slivers, which end with the test."""

    folder: Path
    driver: Driver
    open: Callable[[], Driver]
    made: list[str] = field(default_factory=list)

    @property
    def has_root(self) -> bool:
        """Whether its slivers have root inside, and an ordinary user beside it; else one user, who may do nothing."""
        return self.driver.images

    @property
    def uid(self) -> int:
        """The login's, inside."""
        return 1000 if self.has_root else 0

    @property
    def shares_host_users(self) -> bool:
        """Whether its slivers' users are the same ones of the host: where the node manager is not the host's root."""
        return os.geteuid() != 0 or hostranges.shared() is not None

    def home(self, slice: str) -> Path:
        """The login's home on this host."""
        return self.folder / slice / "home" / (slice if self.has_root else "")

    def spec(self, slice: str, memory_mb: int = 512, processes: int = 100) -> SliverSpec:
        private, public = new_ssh_key_pair(slice)
        return SliverSpec(slice, uuid.uuid4(), f"{slice}-n_1", memory_mb, processes, private, public)

    def make(self, slice: str, **limits: int) -> SliverSpec:
        spec = self.spec(slice, **limits)
        self.made.append(slice)
        run_async(self.driver.create(spec))
        return spec

    def run(self, slice: str, command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        """`bash -c command` inside, to its end."""
        session = self.driver.enter(slice, ["/bin/bash", "-c", command], pty=None)
        assert session.stderr is not None
        os.write(session.stdin, stdin)
        os.close(session.stdin)
        texts = {session.stdout: b"", session.stderr: b""}
        unfinished = set(texts)
        while unfinished:
            for descriptor in select.select(list(unfinished), [], [])[0]:
                block = os.read(descriptor, 65536)
                texts[descriptor] += block
                if not block:
                    unfinished.remove(descriptor)
                    os.close(descriptor)
        status = session.wait()
        os.close(session.ended)
        out, err = (text.decode(errors="replace") for text in texts.values())
        return subprocess.CompletedProcess(command, status, out, err)

    def root(self, slice: str, command: str) -> subprocess.CompletedProcess[str]:
        """The same as root, which without a user beside it is whoever is inside."""
        if not self.has_root:
            return self.run(slice, command)
        return self.run(slice, f"exec sudo -n bash -c {shlex.quote(command)}")

    def root_says(self, slice: str, command: str) -> str:
        """What root's command prints; it must succeed."""
        done = self.root(slice, command)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout.rstrip("\n")

    def says(self, slice: str, command: str) -> str:
        """What the command prints, without the last line end; it must succeed."""
        done = self.run(slice, command)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout.rstrip("\n")


@pytest.fixture(scope="package")
def podman() -> Iterator[str | None]:
    """Address of a podman service for these tests alone, with its own storage; None where that cannot be had."""
    tools = ("podman", "runc", "conmon")
    if os.geteuid() != 0 or not all(map(shutil.which, tools)):
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="dslice-podman-"))
    # A root without CAP_SYS_RESOURCE cannot raise limits, hence no default ulimits.
    engine = '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    (folder / "containers.conf").write_text(f"[containers]\ndefault_ulimits = []\n{engine}")
    podman = ["podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]
    quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    quiet["env"] = os.environ | {"CONTAINERS_CONF": f"{folder}/containers.conf"}
    quiet["cwd"] = folder  # conmon leaves files where it runs
    service = subprocess.Popen([*podman, "system", "service", "-t", "0", f"unix://{folder}/socket"], **quiet)
    while service.poll() is None and not (folder / "socket").exists():
        time.sleep(0.05)
    yield f"unix://{folder}/socket" if service.poll() is None else None
    service.terminate()
    service.wait()
    subprocess.run([*podman, "rm", "--all", "--force", "--time", "0"], **quiet)
    subprocess.run(["umount", "--lazy", f"{folder}/root/vfs", f"{folder}/root"], **quiet)
    shutil.rmtree(folder)


@contextlib.contextmanager
def open_node(driver: str, folder: Path, podman: str | None, terms: Terms = TERMS) -> Iterator[Node]:
    """A node of that driver; skipped where this machine cannot run it, and why is said."""
    if driver == "podman" and podman is None:
        pytest.skip("podman with runc is not installed here, or this is not root")

    def open_again() -> Driver:
        if driver == "podman":
            return PodmanDriver(folder / "slivers", podman, terms)
        return open_driver(driver, folder / "slivers", terms)

    try:
        node = Node(folder / "slivers", open_again(), open_again)
    except Refusal as refusal:
        pytest.skip(refusal.reason)
    if driver in ROOTED and not node.has_root:
        pytest.skip("slivers have no root of their own here")
    try:
        yield node
    finally:
        for slice in node.made:
            run_async(node.driver.delete(slice))


@pytest.fixture(params=DRIVERS)
def node(request: pytest.FixtureRequest, tmp_path: Path, podman: str | None) -> Iterator[Node]:
    """A node for each driver, empty."""
    with open_node(request.param, tmp_path, podman) as made:
        yield made
