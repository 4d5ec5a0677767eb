"""A FIDO device in software, behind an ssh-agent's socket: OpenSSH's own client signs with it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from trust.securitykeys import ECDSA, ED25519, USER_PRESENT

# draft-ietf-sshm-ssh-agent, section 5.1
FAILURE, REQUEST_IDENTITIES, IDENTITIES, SIGN_REQUEST, SIGN_RESPONSE = 5, 11, 12, 13, 14


def string(data: bytes) -> bytes:
    """RFC 4251."""
    return len(data).to_bytes(4, "big") + data


def mpint(number: int) -> bytes:
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


@dataclass
class Device:
    """`flags`: what it says of whoever holds it; `signs_for`: an application other than the key's."""

    type: str
    flags: int = USER_PRESENT
    application: bytes = b"ssh:"
    signs_for: bytes | None = None
    counter: int = 7

    def __post_init__(self) -> None:
        self._ed25519, self._ecdsa = ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())

    @property
    def blob(self) -> bytes:
        if self.type == ED25519:
            fields = [self._ed25519.public_key().public_bytes_raw()]
        else:
            point = self._ecdsa.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            fields = [b"nistp256", point]
        return b"".join(map(string, (self.type.encode(), *fields, self.application)))

    @property
    def line(self) -> str:
        return f"{self.type} {base64.b64encode(self.blob).decode()} a device"

    def sign(self, message: bytes) -> bytes:
        """PROTOCOL.u2f, "SSH U2F signatures"."""
        tail = bytes([self.flags]) + self.counter.to_bytes(4, "big")
        application = self.application if self.signs_for is None else self.signs_for
        signed = hashlib.sha256(application).digest() + tail + hashlib.sha256(message).digest()
        if self.type == ECDSA:
            r, s = utils.decode_dss_signature(self._ecdsa.sign(signed, ec.ECDSA(SHA256())))
            inner = mpint(r) + mpint(s)
        else:
            inner = self._ed25519.sign(signed)
        return string(self.type.encode()) + string(inner) + tail


@contextlib.contextmanager
def agent(device: Device, path: Path) -> Iterator[None]:
    """An ssh-agent at `path` (SSH_AUTH_SOCK) that holds this one key, until the end of the block."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener, device))
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(listener: socket.socket, device: Device) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client, client.makefile("rb") as reader:
            while head := reader.read(4):
                request = reader.read(int.from_bytes(head, "big"))
                client.sendall(string(_answer(request, device)))


def _answer(request: bytes, device: Device) -> bytes:
    if request[0] == REQUEST_IDENTITIES:
        return bytes([IDENTITIES]) + (1).to_bytes(4, "big") + string(device.blob) + string(b"a device")
    if request[0] == SIGN_REQUEST and request[1:].startswith(string(device.blob)):
        rest = request[1 + 4 + len(device.blob) :]
        message = rest[4 : 4 + int.from_bytes(rest[:4], "big")]
        return bytes([SIGN_RESPONSE]) + string(device.sign(message))
    return bytes([FAILURE])
