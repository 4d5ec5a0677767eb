"""The slice's own key pair, as a service manager hands it to a node."""

from base64 import b64decode
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

from trust.errors import Code, Refusal
from trust.sshkeys import PublicKey, parse_public_key


@dataclass(frozen=True, slots=True)
class SlicePair:
    """A pair as it came, with its generation: the service manager counts them, so that no older one comes back."""

    generation: int
    private_key: str = field(repr=False)
    public_key: str

    def refuse_older(self, than: int, slice: str) -> None:
        """Raises Refusal(STALE_GENERATION) when this node has a newer one."""
        if self.generation < than:
            reason = f"the key pair of slice {slice} on this node has generation {than}; run the command again"
            raise Refusal(Code.STALE_GENERATION, reason, generation=than)


MAX_TEXT = 16 * 1024
HEAD = "-----BEGIN OPENSSH PRIVATE KEY-----\n"


def check_pair(private_key: str, public_key: str) -> PublicKey:
    """The public half, if the two belong together: an unencrypted OpenSSH private key and its one-line public key.

    Raises:
        Refusal: BAD_INPUT.
    """
    public = parse_public_key(public_key)
    if len(private_key) > MAX_TEXT or not private_key.startswith(HEAD):
        raise Refusal(Code.BAD_INPUT, "the slice's private key is not in OpenSSH's format; make a new pair")
    try:
        key = load_ssh_private_key(private_key.encode(), password=None)
        own = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Refusal(Code.BAD_INPUT, "the slice's private key cannot be read; make a new pair") from error
    if b64decode(own.split()[1]) != public.blob:
        raise Refusal(Code.BAD_INPUT, "the slice's two keys do not belong together; make a new pair")
    return public
