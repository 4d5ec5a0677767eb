"""Where the front door answers otherwise than sshd, on purpose: each with its reason, shown in docs/clients.md."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """What a user notices of it, and why it is so."""

    front_door: str
    sshd: str
    reason: str


ENDED_BY_SIGNAL = Difference(
    "a command that signal N ends has the exit status 128 + N",
    "the signal's name alone, which OpenSSH's client turns into 255",
    "255 looks like a lost connection (ADR 32)",
)
OTHER_ADDRESSES = Difference(
    "`-L`, `-D` and `-J` reach the sliver's own ports and other nodes' front doors",
    "they reach whatever the machine reaches",
    "a sliver is no way into its node's network; programs inside reach what the node's network lets them",
)
OTHERS_PORTS = Difference(
    "`-L` to a port of the node that is not the sliver's is refused",
    "it is forwarded",
    "slivers share the node's network, and their users do not share one another's services",
)
LISTENS_ON_LOOPBACK = Difference(
    "`-R` listens on the sliver's loopback only",
    "`GatewayPorts` may allow other addresses",
    "the node's addresses are its operator's",
)
OLD_CRYPTOGRAPHY = Difference(
    "no group of Diffie-Hellman, no P-384 and P-521, no RSA or ECDSA host key, no CBC",
    "some of them",
    "they cost a stranger's login up to half a second of the node (ADR 18); every client of this page speaks the rest",
)
KEYS = Difference(
    "keys in `~/.ssh/authorized_keys` open nothing, and the file says so",
    "they do",
    "keys come from `svm addkey`, which every node of the slice hears of",
)
NO_X11 = Difference(
    "no X11 forwarding and no tunnels",
    "both where they are allowed",
    "nothing inside has a screen; tunnels need rights over the node's network",
)
DIFFERENCES = (
    ENDED_BY_SIGNAL, OTHER_ADDRESSES, OTHERS_PORTS, LISTENS_ON_LOOPBACK, OLD_CRYPTOGRAPHY, KEYS, NO_X11,
)  # fmt: skip


def table() -> str:
    """As Markdown."""
    rows = [("the front door", "sshd", "why"), ("---", "---", "---")]
    rows += [(each.front_door, each.sshd, each.reason) for each in DIFFERENCES]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
