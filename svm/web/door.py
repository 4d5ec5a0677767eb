"""Who may come in: the link that works once, the cookie that it becomes, and which requests are this server's own.

A browser sends what any page in it asks for, so a request counts only when it names this server (Host, against DNS
rebinding), comes from this server's pages when it changes something (Origin), and has the cookie of this run.
"""

import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

from trust.errors import Code, Refusal

ENTRY = "/enter/"
STATIC = "/static/"
SAFE = ("GET", "HEAD")
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""On every answer. With `no-referrer` a browser would send `Origin: null` with our own forms."""


class Door:
    """The secrets of one run, which are nowhere but in its memory."""

    def __init__(self, address: str, program: str) -> None:
        """`address`: `HOST:PORT` as the browser has to name it; `program`: what one types for a new link."""
        self.address = address
        self._program = program
        self.cookie_name = f"dslice-{address.rpartition(':')[2]}"  # two runs of one browser keep theirs
        self._cookie = secrets.token_urlsafe(32)
        self._link: str | None = secrets.token_urlsafe(32)

    @property
    def origin(self) -> str:
        return f"http://{self.address}"

    @property
    def link(self) -> str:
        """Where the browser is to begin."""
        return f"{self.origin}{ENTRY}{self._link or ''}"

    def enter(self, word: str) -> str:
        """The header Set-Cookie for whoever has the link, once. Raises Refusal(NOT_AUTHENTICATED)."""
        link = self._link
        if link is None or not secrets.compare_digest(word.encode(), link.encode()):
            raise Refusal(
                Code.NOT_AUTHENTICATED, f"this link has been used or is wrong; run {self._program} for a new one"
            )
        self._link = None
        return f"{self.cookie_name}={self._cookie}; HttpOnly; SameSite=Strict; Path=/"

    def check(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        """Whether to answer this at all. `headers`: names in lower case. Raises Refusal."""
        if headers.get("host") != self.address:
            raise Refusal(Code.NOT_ALLOWED, f"this server answers to its own address only; open {self.origin}/")
        if method not in SAFE and headers.get("origin") != self.origin:
            raise Refusal(Code.NOT_ALLOWED, f"another site asked for this, so nothing was done; open {self.origin}/")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
            raise Refusal(Code.NOT_ALLOWED, f"another site asked for this, so it gets nothing; open {self.origin}/")
        if path.startswith((ENTRY, STATIC)):
            return
        if not self._knows(headers.get("cookie", "")):
            reason = f"this browser has not come in by the link of this run; run {self._program} for a new one"
            raise Refusal(Code.NOT_AUTHENTICATED, reason)

    def _knows(self, header: str) -> bool:
        try:
            found = SimpleCookie(header).get(self.cookie_name)
        except CookieError:
            return False
        return found is not None and secrets.compare_digest(found.value.encode(), self._cookie.encode())
