"""The signals that SSH knows by name (RFC 4254, 6.9 and 6.10), and the message that one has ended a command."""

from __future__ import annotations

import signal
from typing import Any

import paramiko
from paramiko.common import cMSG_CHANNEL_REQUEST
from paramiko.message import Message

_NAMES = ("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2")
_NUMBERS = {name: signal.Signals[f"SIG{name}"] for name in _NAMES}


def number_of(name: str) -> int | None:
    """The signal that a client calls `name`, without SIG; None for none that it may send."""
    return _NUMBERS.get(name)


def name_of(number: int) -> str:
    """The name on the wire; other systems' clients need not know those that the RFC does not list."""
    try:
        name = signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        name = str(number)  # a real-time signal
    return name if name in _NUMBERS else f"{name}@dslice"


def send_exit_signal(channel: paramiko.Channel, number: int) -> None:
    """Tell the client which signal ended its command. No core file is ever written inside (`limits.rlimits`)."""
    message = Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    for part in ("exit-signal", False, name_of(number), False, signal.strsignal(number) or "", "en"):
        message.add_boolean(part) if isinstance(part, bool) else message.add_string(part)
    transport: Any = channel.transport
    transport._send_user_message(message)
