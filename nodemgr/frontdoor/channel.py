"""One session channel: pty request, one command, its streams, its exit status."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence

from nodemgr.frontdoor import terminal
from nodemgr.frontdoor.fed import FedChannel, Target
from nodemgr.frontdoor.listener import Listener
from nodemgr.frontdoor.pump import CHANNEL_LOST, inwards, outwards
from nodemgr.frontdoor.reverse import Reverse
from nodemgr.frontdoor.signals import send_exit_signal
from nodemgr.frontdoor.variables import MAX_VARIABLES
from nodemgr.slivers.drivers.driver import Pty, Session
from trust.errors import Refusal

log = logging.getLogger(__name__)

MAX_COLUMNS = 10_000
NOT_STARTED = 255
BROKEN = "this session broke on the node; try again, and tell the node's operator if it stays so"
# A client that wants no reply gets output after this long at the latest.
REPLY_SECONDS = 1

Enter = Callable[[Sequence[str], Pty | None, Mapping[str, str]], Session]


class SessionChannel:
    """The life of one session. Its methods are called on the transport's thread and never block; the command's
    streams are served by two threads of its own, which end with it.

    Args:
        channel: the client's channel; kept here, for paramiko keeps only weak references.
        enter: starts a command inside the sliver, with the terminal or None, and variables of its environment.
        reverse: makes the way to the user's agent.
    """

    def __init__(self, channel: FedChannel, enter: Enter, reverse: Reverse) -> None:
        self._channel = channel
        self._enter = enter
        self._reverse = reverse
        self._wants_agent = False
        self._agent: Listener | None = None
        self._pty: Pty | None = None
        self._modes: dict[int, int] = {}
        self._variables: dict[str, str] = {}
        self._session: Session | None = None
        self._started = False
        self._replied = threading.Event()
        self._wake = -1
        self._notices = -1
        self._gone = False
        self._lock = threading.Lock()

    def request_pty(self, term: str, columns: int, rows: int, modes: bytes) -> bool:
        """Remember the terminal for the command that follows; refused after it."""
        if self._started:
            return False
        printable = term if term.isascii() and term.isprintable() and len(term) <= 64 else "dumb"
        self._pty = Pty(printable, min(columns, MAX_COLUMNS), min(rows, MAX_COLUMNS))
        self._modes = terminal.decode(modes)
        return True

    def set_variable(self, name: str, value: str) -> bool:
        """Remember a variable for the environment of the command that follows; refused after it."""
        if self._started or len(self._variables) >= MAX_VARIABLES:
            return False
        self._variables[name] = value
        return True

    def request_agent(self) -> bool:
        """Remember that the command that follows may use the agent of the client's user; refused after it."""
        self._wants_agent = not self._started
        return self._wants_agent

    def start(self, argv: Sequence[str]) -> bool:
        """Start the one command of this channel; refused for a second one (RFC 4254, 6.5).

        Raises:
            OSError, RuntimeError: no descriptor or thread to be had.
        """
        if self._started:
            return False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._started = True
        try:
            threading.Thread(target=self._run, args=(list(argv),), name="session", daemon=True).start()
        except BaseException:
            self._started = False
            os.close(self._wake)
            raise
        return True

    def replied(self) -> None:
        """The client knows that its command was accepted: output may flow."""
        self._replied.set()

    def resize(self, columns: int, rows: int) -> bool:
        """The client's window changed."""
        with self._lock:
            if self._pty is None:
                return False
            columns, rows = min(columns, MAX_COLUMNS), min(rows, MAX_COLUMNS)
            self._pty = Pty(self._pty.term, columns, rows)
            if self._session is not None:
                self._session.resize(columns, rows)
            return True

    def notify(self, text: str) -> None:
        """Say something on the terminal, if there is one; never waits for who reads it."""
        with self._lock, contextlib.suppress(OSError):
            if self._notices >= 0:
                os.write(self._notices, f"\r\n{text}\r\n".encode())

    def signal(self, number: int) -> None:
        """Send a signal to the command's process group; nothing when none runs."""
        with self._lock:
            if self._session is not None:
                self._session.signal(number)

    def gone(self) -> None:
        """The channel is lost or closed: whatever still runs is hung up on."""
        with self._lock:
            if self._gone:
                return
            self._gone = True
            if self._started:
                os.eventfd_write(self._wake, 1)
            if self._session is not None:
                _hang_up(self._session)

    def _run(self, argv: list[str]) -> None:
        try:
            self._serve(self._begin(argv))
        except Refusal as refusal:
            self._refuse(refusal.reason)
        except Exception:
            log.exception("front door: a session broke")
            self._refuse(BROKEN)
        finally:
            if self._agent is not None:
                self._reverse.end(self._agent)
            with self._lock:
                self._session = None
                self._gone = True
                os.close(self._wake)

    def _begin(self, argv: list[str]) -> Session:
        if self._wants_agent:
            self._open_agent()
        with self._lock:
            self._session = session = self._enter(argv, self._pty, self._variables)
        return session

    def _open_agent(self) -> None:
        """Without it the command runs all the same, as sshd has it."""
        try:
            self._agent = self._reverse.agent()
        except Refusal as refusal:
            self._replied.wait(REPLY_SECONDS)
            with contextlib.suppress(*CHANNEL_LOST):
                self._channel.sendall_stderr(f"no agent is forwarded: {refusal.reason}\r\n".encode())
        else:
            self._variables["SSH_AUTH_SOCK"] = self._agent.address

    def _prepare(self, session: Session) -> None:
        with self._lock:
            if self._pty is not None:
                session.resize(self._pty.columns, self._pty.rows)
                terminal.apply(session.stdout, self._modes)
            if self._gone:
                _hang_up(session)
        for descriptor in (session.stdin, session.stdout):
            os.set_blocking(descriptor, False)

    def _serve(self, session: Session) -> None:
        """Both directions until the command's output ends, or the command itself if it has a terminal; then its exit
        status, and the channel is closed."""
        feeder = threading.Thread(target=self._feed, args=(session,), name="session-input", daemon=True)
        try:
            self._prepare(session)
            self._replied.wait(REPLY_SECONDS)
            feeder.start()
            self._forward(session)
            self._report(session)
        except CHANNEL_LOST:
            _hang_up(session)
        except Exception:
            log.exception("front door: a session broke")
            _hang_up(session)
            self._say(BROKEN)
        finally:
            self._close()
            self._let_go(session, feeder)

    def _forward(self, session: Session) -> None:
        if session.stderr is not None:
            senders = {session.stdout: self._channel.sendall, session.stderr: self._channel.sendall_stderr}
            outwards(senders, self._wake)
            return
        notices, self._notices = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            outwards(dict.fromkeys((session.stdout, notices), self._channel.sendall), self._wake, session.ended)
        finally:
            with self._lock:
                os.close(self._notices)
                self._notices = -1
            os.close(notices)

    def _report(self, session: Session) -> None:
        """The exit status, 128 + N after signal N: OpenSSH's client ignores the signal's name."""
        status = session.wait()
        if session.fatal_signal is not None:
            send_exit_signal(self._channel, session.fatal_signal)
        self._channel.send_exit_status(status)

    def _let_go(self, session: Session, feeder: threading.Thread) -> None:
        """Close the session's descriptors; its input is closed by who feeds it."""
        if feeder.ident is not None:
            feeder.join()
        elif session.stderr is not None:
            os.close(session.stdin)
        os.close(session.stdout)
        os.close(session.ended)
        if session.stderr is not None:
            os.close(session.stderr)

    def _feed(self, session: Session) -> None:
        """What the client types, until its EOF: then a command without a terminal sees the end of its input."""
        try:
            inwards(self._channel, Target.pipe(session.stdin), self._wake)
        except Exception:
            log.exception("front door: a session's input broke")
            _hang_up(session)
        finally:
            if session.stderr is not None:
                os.close(session.stdin)

    def _refuse(self, reason: str) -> None:
        """There is nothing to run: say why where a command's errors go."""
        self._replied.wait(REPLY_SECONDS)
        self._say(reason)
        self._close()

    def _say(self, reason: str) -> None:
        with contextlib.suppress(*CHANNEL_LOST):
            self._channel.sendall_stderr(f"{reason}\r\n".encode())
            self._channel.send_exit_status(NOT_STARTED)

    def _close(self) -> None:
        with contextlib.suppress(*CHANNEL_LOST):
            self._channel.close()
        with self._lock:
            self._gone = True
            os.eventfd_write(self._wake, 1)


def _hang_up(session: Session) -> None:
    """Whatever comes of it: who hangs up has other channels to end."""
    try:
        session.hangup()
    except Exception:
        log.exception("front door: a session could not be hung up on")
