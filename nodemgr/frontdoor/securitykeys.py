"""FIDO keys at the front door, in the form in which paramiko asks a key of a type that it knows."""

import paramiko
from paramiko.message import Message

from trust.securitykeys import SecurityKey


class OfferedSecurityKey(paramiko.PKey):
    """A client's FIDO key, whose signatures count only with a touch of its device. ValueError for no such key."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self._key = SecurityKey.parse(blob)

    def asbytes(self) -> bytes:
        return self._blob

    def get_name(self) -> str:
        return self._key.type

    def verify_ssh_sig(self, data: bytes, msg: Message) -> bool:
        return self._key.verify(msg.asbytes(), data)
