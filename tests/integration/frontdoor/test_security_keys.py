"""FIDO keys: OpenSSH's client logs in with one, and only while somebody touches its device."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.frontdoor.conftest import Node
from tests.integration.frontdoor.device import Device, agent
from trust.securitykeys import ECDSA, ED25519, USER_PRESENT
from trust.sshkeys import parse_public_key

TYPES = [ED25519, ECDSA]
VERIFIED = 0x04  # by a PIN or a finger
REFUSED = 255


def login(node: Node, slice_name: str, device: Device, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Of the slice's user, whose only key is on this device."""
    public = folder / "device.pub"
    public.write_text(device.line + "\n")
    node.table.change(slice_name, keys=(parse_public_key(device.line),))
    with agent(device, folder / "agent"):
        done: subprocess.CompletedProcess[bytes] = node.ssh(
            "echo in", login=slice_name, key=public, env=os.environ | {"SSH_AUTH_SOCK": str(folder / "agent")}
        )
    return done


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("flags", [USER_PRESENT, USER_PRESENT | VERIFIED])
def test_a_touched_device_opens_the_door(node: Node, slice_name: str, tmp_path: Path, kind: str, flags: int) -> None:
    done = login(node, slice_name, Device(kind, flags), tmp_path)
    assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("flags", [0, VERIFIED])
def test_nobody_at_the_device(node: Node, slice_name: str, tmp_path: Path, kind: str, flags: int) -> None:
    assert login(node, slice_name, Device(kind, flags), tmp_path).returncode == REFUSED


@pytest.mark.parametrize("kind", TYPES)
def test_a_signature_for_another_application(node: Node, slice_name: str, tmp_path: Path, kind: str) -> None:
    assert login(node, slice_name, Device(kind, signs_for=b"https://bank.example"), tmp_path).returncode == REFUSED


@pytest.mark.parametrize("kind", TYPES)
def test_another_device(node: Node, slice_name: str, tmp_path: Path, kind: str) -> None:
    mine, other = Device(kind), Device(kind)
    mine.sign = other.sign  # type: ignore[method-assign]
    assert login(node, slice_name, mine, tmp_path).returncode == REFUSED
