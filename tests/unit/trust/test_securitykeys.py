import base64

import pytest

from tests.integration.frontdoor.device import Device, string
from trust.securitykeys import ECDSA, ED25519, SECURITY_KEY_TYPES, USER_PRESENT, SecurityKey

MESSAGE = b"what the client signs"


@pytest.fixture(params=SECURITY_KEY_TYPES)
def device(request: pytest.FixtureRequest) -> Device:
    return Device(request.param)


def test_its_own_signature_and_no_other(device: Device) -> None:
    key = SecurityKey.parse(device.blob)
    signature = device.sign(MESSAGE)
    assert key.verify(signature, MESSAGE)
    assert not key.verify(signature, MESSAGE + b"!")
    assert not SecurityKey.parse(Device(device.type).blob).verify(signature, MESSAGE)
    for at in range(len(signature)):
        changed = bytearray(signature)
        changed[at] ^= 1
        assert not key.verify(bytes(changed), MESSAGE), at


def test_a_signature_cut_or_longer(device: Device) -> None:
    key, signature = SecurityKey.parse(device.blob), device.sign(MESSAGE)
    for end in range(len(signature)):
        assert not key.verify(signature[:end], MESSAGE)
    assert not key.verify(signature + b"\0", MESSAGE)


def test_the_other_types_signature() -> None:
    one, other = Device(ED25519), Device(ECDSA)
    assert not SecurityKey.parse(one.blob).verify(other.sign(MESSAGE), MESSAGE)


@pytest.mark.parametrize("flags", range(256))
def test_only_with_somebody_present(flags: int) -> None:
    device = Device(ED25519, flags=flags)
    assert SecurityKey.parse(device.blob).verify(device.sign(MESSAGE), MESSAGE) is bool(flags & USER_PRESENT)


def test_a_blob_that_is_not_as_it_is_written(device: Device) -> None:
    blob = device.blob
    for wrong in (b"", blob[:-1], blob + b"\0", blob + string(b"more"), string(b"ssh-ed25519"), blob[: len(blob) // 2]):
        with pytest.raises(ValueError, match=r"."):
            SecurityKey.parse(wrong)


def test_a_key_of_a_web_site_is_none_for_ssh(device: Device) -> None:
    device.application = b"https://bank.example"
    with pytest.raises(ValueError, match="not made for SSH"):
        SecurityKey.parse(device.blob)


def test_another_application_is_another_key(device: Device) -> None:
    own, device.application = device.blob, b"ssh:work"
    assert SecurityKey.parse(device.blob).application == b"ssh:work"
    assert base64.b64encode(own) != base64.b64encode(device.blob)
    assert not SecurityKey.parse(own).verify(device.sign(MESSAGE), MESSAGE)
