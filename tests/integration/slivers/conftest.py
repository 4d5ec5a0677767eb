"""Slivers of every keeper driver that works on this machine."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import uuid
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from nodemgr.slivers.choice import open_driver
from nodemgr.slivers.driver import Driver, SliverSpec
from trust.errors import Refusal
from trust.sshkeys import new_ssh_key_pair

T = TypeVar("T")
DRIVERS = ("bubblewrap", "unshare", "podman")


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

    def spec(self, slice: str, memory_mb: int = 512, processes: int = 100) -> SliverSpec:
        private, public = new_ssh_key_pair(slice)
        return SliverSpec(slice, uuid.uuid4(), f"{slice}-n_1", memory_mb, processes, None, private, public)

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
        out, err = (text.decode(errors="replace") for text in texts.values())
        return subprocess.CompletedProcess(command, status, out, err)

    def says(self, slice: str, command: str) -> str:
        """What the command prints, without the last line end; it must succeed."""
        done = self.run(slice, command)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout.rstrip("\n")


@pytest.fixture(params=DRIVERS)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    """A node for each driver; one that this machine cannot run is skipped, and why is said."""

    def open_again() -> Driver:
        return open_driver(request.param, tmp_path / "slivers")

    try:
        node = Node(tmp_path / "slivers", open_again(), open_again)
    except Refusal as refusal:
        pytest.skip(refusal.reason)
    yield node
    for slice in node.made:
        run_async(node.driver.delete(slice))
