"""Slivers that begin as an image."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from admin.images.sources import entries
from admin.images.store import Store
from nodemgr.images import Images
from tests.integration.slivers.conftest import ROOTED, Node, open_node, run_async


@pytest.fixture(params=ROOTED)
def node(request: pytest.FixtureRequest, tmp_path: Path, podman: str | None) -> Iterator[Node]:
    """A node whose slivers have root inside, empty."""
    with open_node(request.param, tmp_path, podman) as made:
        yield made


def test_an_image_is_what_it_begins_as(node: Node, tmp_path: Path) -> None:
    """A small root file system made of the host's own programs."""
    root = tmp_path / "image"
    copied = ["sh", "bash", "cat", "id", "sed", "ls", "true", "stat", "sleep"]
    copied += ["setpriv", "prlimit", "setsid", "nice", "choom"]
    libraries = set()
    for name in copied:
        said = subprocess.run(["ldd", f"/usr/bin/{name}"], capture_output=True, text=True, check=False).stdout
        libraries |= {word for word in said.split() if word.startswith("/")}
    for path in [*(f"/usr/bin/{name}" for name in copied), *libraries]:
        real = Path(os.path.realpath(path))
        target = root / os.path.realpath(os.path.dirname(path))[1:] / os.path.basename(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(real.read_bytes())
        target.chmod(0o755)
    for name in ("bin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/mark").write_text("of the image\n")
    store = Store(tmp_path / "images")
    store.add("small", lambda: entries(root, store.folder), datetime.now(UTC))
    image = Images(store.folder).offered(node.driver)["small"]
    spec = dataclasses.replace(node.spec("ocean"), image=image)
    node.made.append("ocean")
    run_async(node.driver.create(spec))
    assert (
        node.says("ocean", "cat /etc/mark; id -un; stat -c %u /etc/mark; ls /usr/share 2>/dev/null || true")
        == "of the image\nocean\n0"
    )
    assert node.root_says("ocean", "echo changed >/etc/mark; id -u") == "0"
    run_async(node.driver.stop("ocean"))
    run_async(node.driver.start("ocean"))
    assert node.says("ocean", "cat /etc/mark") == "changed"
    assert (root / "etc/mark").read_text() == "of the image\n"
    run_async(node.driver.reset("ocean"))
    assert node.says("ocean", "cat /etc/mark") == "of the image"
