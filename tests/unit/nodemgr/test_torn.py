"""Files that a node manager reads at its start, torn: what can be made anew is, and the rest is said in one line."""

from pathlib import Path

import pytest

from nodemgr.frontdoor.hostkey import open_host_key
from nodemgr.storage.store import Store
from tests.unit.nodemgr.world import refused
from tests.unit.trust.factories import NODE
from trust.errors import Code

TORN = [b"", b"garbage", b"\xff" * 100, b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXkt\n"]


@pytest.mark.parametrize("content", TORN)
def test_a_host_key_is_made_anew_and_the_damaged_one_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ssh_host_key"
    path.write_bytes(content)
    made = open_host_key(path)
    assert open_host_key(path).get_base64() == made.get_base64()
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ssh_host_key.damaged").read_bytes() == content


def test_a_damaged_store_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "node.db").write_bytes(b"garbage" * 100)
    with refused(Code.BAD_INPUT) as caught:
        Store(tmp_path / "node.db", NODE)
    assert "is damaged" in caught.refusal.reason
    assert "\n" not in caught.refusal.reason
