"""Whose program is at the other end of a connection over loopback: the kernel's table says it."""

from pathlib import Path

TABLE = Path("/proc/net/tcp")


def owner(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """The uid that the client's socket belongs to; None where the table cannot be read or has no such connection."""
    wanted = [_coded(*client), _coded(*server)]
    try:
        with TABLE.open(encoding="ascii") as table:
            for line in table:
                words = line.split()
                if words[1:3] == wanted:
                    return int(words[7])
    except (OSError, ValueError, IndexError):
        return None
    return None


def _coded(address: str, port: int) -> str:
    """As the table has it: the address in the machine's own order of bytes, which is little-endian here."""
    return f"{bytes(map(int, reversed(address.split('.')))).hex().upper()}:{port:04X}"
