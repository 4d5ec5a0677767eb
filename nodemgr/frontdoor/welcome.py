"""Whether who has logged in may stay, and what they are told of the end: decided from the access table, pure."""

from __future__ import annotations

from datetime import datetime

from nodemgr.access import Access
from trust.sshkeys import PublicKey

# Seconds before a lease's end at which terminals hear of it, as shutdown(8) does it.
WARNINGS = {60: "a minute", 600: "ten minutes", 3600: "an hour"}


def held(access: Access, blob: bytes) -> PublicKey | None:
    """The key of `access` with this wire form: a user's, or the slice's own."""
    return next((key for key in (*access.keys, access.slice_key) if key.blob == blob), None)


def unwelcome(granted: Access, key: PublicKey, access: Access | None, now: datetime) -> str | None:
    """Why slice, key or lease are not as they were when `key` logged in to `granted`, given what the table says now;
    None: they are."""
    name = granted.slice
    if access is None or access.slice_id != granted.slice_id:
        return f"{name} no longer runs on this node"
    if access.expires_at <= now:
        return f"the lease of {name} on this node has ended"
    if access.stopped and not granted.stopped:  # who comes while it is stopped may stay to hear why
        return access.stopped
    return None if held(access, key.blob) else f"your key no longer opens {name}"


def warning(access: Access, before: float | None, left: float) -> str | None:
    """What terminals are told of a lease that has `left` seconds, and had `before` at the last look (None: there was
    none); None: nothing now."""
    words = next((words for at, words in WARNINGS.items() if before is not None and left <= at < before), None)
    if words is None:
        return None
    name, at = access.slice, f"{access.expires_at:%H:%M} UTC"
    return f"The lease of {name} on this node ends in {words}, at {at}: svm renewslice {name} keeps it"
