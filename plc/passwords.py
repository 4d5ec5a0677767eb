"""Passwords: Argon2id, few at a time, and the same answer and time whether or not an e-mail has an account."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from trust.errors import Code, Refusal

SHORTEST, LONGEST = 8, 512  # characters
AT_ONCE = 2  # hashes; each takes 64 MiB (RFC 9106, second recommended option)
WAITING = 16  # callers that may wait for their turn; more would take every thread of the server


class Passwords:
    """The hasher of one process. Raises Refusal(OVER_CAPACITY) when too many wait already."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._running = BoundedSemaphore(AT_ONCE)
        self._waiting = BoundedSemaphore(WAITING)

    def prepare(self) -> None:
        """Before the first visitor, who would otherwise tell an unknown e-mail by the time this takes."""
        _ = self._nobody

    @cached_property
    def _nobody(self) -> str:
        """Verified against for e-mails without an account; same parameters, hence the same time."""
        return self._hasher.hash("nobody has this password")

    def hash(self, password: str) -> str:
        """What is stored. Raises Refusal(BAD_INPUT) for one that is too short or too long."""
        if not SHORTEST <= len(password) <= LONGEST:
            raise Refusal(Code.BAD_INPUT, f"a password has {SHORTEST} to {LONGEST} characters; choose another")
        with self._turn():
            return self._hasher.hash(password)

    def matches(self, password: str, stored: str | None) -> bool:
        """Whether it is the password that ``stored`` came from; None (no such account) never matches."""
        with self._turn():
            try:
                self._hasher.verify(stored or self._nobody, password)
            except (VerificationError, InvalidHashError):
                return False
            return stored is not None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._waiting.acquire(blocking=False):
            raise Refusal(Code.OVER_CAPACITY, "too many log in at this moment; try again in a few seconds")
        try:
            with self._running:
                yield
        finally:
            self._waiting.release()
