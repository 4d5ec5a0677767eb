"""A key, its certificate and the CA's root, as three PEM files in one folder.

A user's ``~/.planetlab`` and a service's state folder hold the same: ``key.pem`` (0600), ``cert.pem`` and ``ca.pem``.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rpc.files import sync_folder, write_file
from trust.errors import Code, Refusal
from trust.identity import Identity

if TYPE_CHECKING:
    from cryptography import x509

    from trust.keys import PrivateKey

KEY, CERTIFICATE, ROOT = "key.pem", "cert.pem", "ca.pem"
MODES = {KEY: 0o600, CERTIFICATE: 0o644, ROOT: 0o644}


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials in ``directory``, read again at each use, so that a renewal is seen at once.

    Reading raises Refusal(NOT_AUTHENTICATED) when a file is missing, unreadable or does not belong to the others.
    """

    directory: Path

    def exists(self) -> bool:
        """Whether all three files are there, and the certificate is the key's."""
        try:
            self.pair()
            return self._path(ROOT).is_file()
        except Refusal:
            return False

    @property
    def key(self) -> PrivateKey:
        from trust.keys import key_from_pem

        return key_from_pem(self._read(KEY))

    @property
    def certificate(self) -> x509.Certificate:
        from trust.certificates import certificate_from_pem

        return certificate_from_pem(self._read(CERTIFICATE))

    @property
    def root(self) -> x509.Certificate:
        from trust.certificates import certificate_from_pem

        return certificate_from_pem(self._read(ROOT))

    @property
    def root_pem(self) -> str:
        return self._read(ROOT).decode("ascii", "replace")

    @property
    def identity(self) -> Identity:
        """Whose they are: the certificate's one URI SAN."""
        uris = uri_names(self.certificate)
        if len(uris) != 1:
            raise Refusal(Code.NOT_AUTHENTICATED, f"{self._path(CERTIFICATE)} does not say whose it is; get a new one")
        return Identity.parse(uris[0])

    def files(self) -> tuple[bytes, bytes]:
        """Key and certificate (PEM) as they are there now; while they are replaced they may be of two (``pair``)."""
        return self._read(KEY), self._read(CERTIFICATE)

    def pair(self) -> tuple[bytes, bytes]:
        """Key and certificate (PEM) that belong together, also while another process replaces them."""
        key, certificate = self._read(KEY), self._read(CERTIFICATE)
        if _belong(key, certificate):
            return key, certificate
        # Between the two renames of a save, or left there by a crash: wait for it, else finish it.
        with self._locked():
            staged = self._staged(CERTIFICATE)
            key = self._read(KEY)
            with suppress(FileNotFoundError):
                if _belong(key, staged.read_bytes()):
                    staged.replace(self._path(CERTIFICATE))
            certificate = self._read(CERTIFICATE)
        if not _belong(key, certificate):
            raise Refusal(
                Code.NOT_AUTHENTICATED, f"{self._path(CERTIFICATE)} belongs to another key than {KEY}; get a new one"
            )
        return key, certificate

    def save(
        self,
        *,
        key_pem: str | None = None,
        certificate_pem: str | None = None,
        ca_pem: str | None = None,
        durable: bool = True,
    ) -> None:
        """Replace the files given, all or none: after a crash ``pair()`` finds the old two or the new two.

        Not durable: a power cut may leave nothing of them, for what can be had again at once. Makes the folder (0700)
        if it is not there. Raises Refusal(BAD_INPUT) for a certificate that is not the key's.
        """
        given = {KEY: key_pem, CERTIFICATE: certificate_pem, ROOT: ca_pem}
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            if certificate_pem is not None:
                key = key_pem.encode() if key_pem is not None else self._read(KEY)
                if not _belong(key, certificate_pem.encode()):
                    raise Refusal(Code.BAD_INPUT, "the certificate is for another key than the one here; ask again")
            names = [name for name, pem in given.items() if pem is not None]
            for name in names:
                write_file(self._staged(name), (given[name] or "").encode(), MODES[name], durable=durable)
            for name in names:
                self._staged(name).replace(self._path(name))
            if durable:
                sync_folder(self.directory)

    def share_root(self, other: Credentials) -> None:
        """Have the other folder's root as another name of its file: a new file costs forty times as much."""
        mine, theirs = self._path(ROOT), other._path(ROOT)
        if mine != theirs:
            mine.unlink(missing_ok=True)
            try:
                mine.hardlink_to(theirs)
            except OSError:  # another file system, or as many names as a file can have
                write_file(mine, other._read(ROOT), MODES[ROOT], durable=False)

    def _path(self, name: str) -> Path:
        return self.directory / name

    def _staged(self, name: str) -> Path:
        return self.directory / f".{name}.new"

    def _read(self, name: str) -> bytes:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            raise Refusal(
                Code.NOT_AUTHENTICATED,
                f"there is no {self._path(name)}; run plkeygen (people) or dslice enroll (services)",
            ) from None
        except OSError as error:
            raise Refusal(Code.NOT_AUTHENTICATED, f"cannot read {self._path(name)}: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def uri_names(certificate: x509.Certificate) -> list[str]:
    """The URIs in the subjectAltName."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _belong(key_pem: bytes, certificate_pem: bytes) -> bool:
    from trust.certificates import certificate_from_pem
    from trust.keys import key_from_pem

    return key_from_pem(key_pem).public_key() == certificate_from_pem(certificate_pem).public_key()
