"""TLS contexts: 1.3 and plc's CA only, among ourselves. Nothing else in the project builds an ``ssl.SSLContext``."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from rpc.credentials import Credentials
from trust.errors import Code, Refusal

MAX_WAITS = 3  # pieces that a refused client may still send, each held in memory until the connection ends


def server_context(
    credentials: Credentials, *, client_certificate: Literal["required", "optional"] = "required"
) -> ssl.SSLContext:
    """A server's side. ``optional`` is for plc: who has no certificate yet may knock, a bad one is refused as ever."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, credentials.root_pem)
    context.verify_mode = ssl.CERT_OPTIONAL if client_certificate == "optional" else ssl.CERT_REQUIRED
    # No resumption: a resumed session skips the check of the certificate, and asyncio's clients never resume.
    context.num_tickets = 0
    context.sslobject_class = ServerSide
    reload(context, credentials)
    return context


def page_context(credentials: Credentials) -> ssl.SSLContext:
    """A server's side for pages that browsers open: it asks nobody for a certificate."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, credentials.root_pem)
    context.verify_mode = ssl.CERT_NONE
    context.num_tickets = 0
    reload(context, credentials)
    return context


def client_context(credentials: Credentials | None, *, ca_pem: str | None = None) -> ssl.SSLContext:
    """A client's side: checks the chain and the server's address; without credentials it shows no certificate.

    Trusts ``ca_pem``, else the root of the credentials; Refusal(NOT_AUTHENTICATED) when there is neither.
    """
    if ca_pem is None:
        if credentials is None:
            raise Refusal(Code.NOT_AUTHENTICATED, "no CA is known to check the server by; run plkeygen first")
        ca_pem = credentials.root_pem
    context = _context(ssl.PROTOCOL_TLS_CLIENT, ca_pem)
    context.check_hostname = True
    context.hostname_checks_common_name = False
    if credentials is not None:
        try:  # nobody uses it yet, so OpenSSL may say whether they belong together
            _show(context, *credentials.files())
        except ssl.SSLError:
            reload(context, credentials)
    return context


def unverified_context() -> ssl.SSLContext:
    """For ``first_contact`` alone: it checks nobody, so nothing secret may pass."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def public_context() -> ssl.SSLContext:
    """For servers that are not ours, such as a mail server: the machine's own roots, TLS 1.2 and up."""
    return ssl.create_default_context()


def reload(context: ssl.SSLContext, credentials: Credentials) -> None:
    """Use the certificate that is there now for every new handshake; connections that stand are not touched."""
    _show(context, *credentials.pair())


def _show(context: ssl.SSLContext, key: bytes, certificate: bytes) -> None:
    with _file(key + b"\n" + certificate) as path:
        context.load_cert_chain(path, password=_no_password)


def _context(protocol: int, root_pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(cadata=_first(root_pem))
    except (ssl.SSLError, ValueError) as error:
        raise Refusal(Code.NOT_AUTHENTICATED, "the CA's root is not a PEM certificate; fetch it again") from error
    return context


def _first(pem: str) -> bytes:
    """One root as DER, even if the file holds more. ValueError if it holds none."""
    begin = pem.index(ssl.PEM_HEADER)
    end = pem.index(ssl.PEM_FOOTER, begin) + len(ssl.PEM_FOOTER)
    return ssl.PEM_cert_to_DER_cert(pem[begin:end])


class ServerSide(ssl.SSLObject):
    """A server's side of a connection in asyncio or uvloop, which tells a client why it is refused.

    When a handshake fails both loops close the connection at once, with OpenSSL's alert still unsent; the client would
    see a connection lost, and never learn that its certificate has expired. Saying "more to read" first has the loop
    send the alert and wait for the client to close, or for its own handshake timeout.
    """

    failure: ssl.SSLError | None = None
    waits = 0

    def do_handshake(self) -> None:
        if self.failure is None:
            try:
                return super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                self.failure = error
        self.waits += 1
        if self.waits > MAX_WAITS:
            raise self.failure
        raise ssl.SSLWantReadError


@contextmanager
def _file(pem: bytes) -> Iterator[str]:
    """A path to these bytes: OpenSSL reads files only, and two files on disk may be of two renewals."""
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        handle = os.memfd_create("pair")
        try:
            os.write(handle, pem)
            yield f"/proc/self/fd/{handle}"
        finally:
            os.close(handle)
        return
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        yield file.name


def _no_password() -> str:
    raise ssl.SSLError("the key has a password")  # else OpenSSL would ask for it at the terminal
