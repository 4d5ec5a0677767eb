"""The terminal modes that an SSH client sends with its pty request (RFC 4254, section 8)."""

from __future__ import annotations

import contextlib
import termios

_CHARACTERS = {
    1: termios.VINTR, 2: termios.VQUIT, 3: termios.VERASE, 4: termios.VKILL, 5: termios.VEOF, 6: termios.VEOL,
    7: termios.VEOL2, 8: termios.VSTART, 9: termios.VSTOP, 10: termios.VSUSP, 12: termios.VREPRINT,
    13: termios.VWERASE, 14: termios.VLNEXT, 18: termios.VDISCARD,
}  # fmt: skip
# opcode: (index in tcgetattr's list, flag)
_IFLAG, _OFLAG, _LFLAG, _CC = 0, 1, 3, 6
_FLAGS = {
    30: (_IFLAG, termios.IGNPAR), 31: (_IFLAG, termios.PARMRK), 32: (_IFLAG, termios.INPCK),
    33: (_IFLAG, termios.ISTRIP), 34: (_IFLAG, termios.INLCR), 35: (_IFLAG, termios.IGNCR),
    36: (_IFLAG, termios.ICRNL), 38: (_IFLAG, termios.IXON), 39: (_IFLAG, termios.IXANY),
    40: (_IFLAG, termios.IXOFF), 41: (_IFLAG, termios.IMAXBEL), 42: (_IFLAG, 0o40000),  # IUTF8, RFC 8160
    50: (_LFLAG, termios.ISIG), 51: (_LFLAG, termios.ICANON), 53: (_LFLAG, termios.ECHO),
    54: (_LFLAG, termios.ECHOE), 55: (_LFLAG, termios.ECHOK), 56: (_LFLAG, termios.ECHONL),
    57: (_LFLAG, termios.NOFLSH), 58: (_LFLAG, termios.TOSTOP), 59: (_LFLAG, termios.IEXTEN),
    60: (_LFLAG, termios.ECHOCTL), 61: (_LFLAG, termios.ECHOKE),
    70: (_OFLAG, termios.OPOST), 72: (_OFLAG, termios.ONLCR), 73: (_OFLAG, termios.OCRNL),
    74: (_OFLAG, termios.ONOCR), 75: (_OFLAG, termios.ONLRET),
}  # fmt: skip
_END = 0
_LAST_WITH_ARGUMENT = 159
_DISABLED = 255


def decode(modes: bytes) -> dict[int, int]:
    """Opcode to argument. Ends at TTY_OP_END, at an opcode that the RFC leaves undefined, or where it is cut off."""
    decoded = {}
    for at in range(0, len(modes) - 4, 5):
        opcode = modes[at]
        if opcode == _END or opcode > _LAST_WITH_ARGUMENT:
            break
        decoded[opcode] = int.from_bytes(modes[at + 1 : at + 5], "big")
    return decoded


def apply(terminal: int, modes: dict[int, int]) -> None:
    """Set what the client asked for on a terminal's master side; what this system does not know is left alone."""
    if not modes:
        return
    with contextlib.suppress(termios.error):
        attributes = termios.tcgetattr(terminal)
        for opcode, argument in modes.items():
            if opcode in _CHARACTERS:
                attributes[_CC][_CHARACTERS[opcode]] = bytes([0 if argument >= _DISABLED else argument])
            elif opcode in _FLAGS:
                index, flag = _FLAGS[opcode]
                attributes[index] = attributes[index] | flag if argument else attributes[index] & ~flag
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)
