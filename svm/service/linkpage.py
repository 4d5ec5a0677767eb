"""The texts and the HTML of the page behind a link (`svm/service/links.py`). Pure: nothing is asked here.

Readable without JavaScript, which the page does not have, and without a style sheet.
"""

import base64
import hashlib
from datetime import datetime, timedelta
from html import escape

from lifecycle.links import Link, Offer
from lifecycle.operations import Operation
from svm.columns import stamp

_STYLE = """
:root{color-scheme:light dark}body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}
button{font:inherit;padding:.6rem 1.2rem}
""".strip()
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
"""On every answer: nothing is loaded, framed or told on. The link must not reach another site as a Referer."""

UNKNOWN = "This link is not whole. Copy all of it from the letter, or type svm renewslice with the slice's name."
FORGOTTEN = "This link is from a letter that is long forgotten. svm slices shows your slices."
NO_CALL = "This page is opened, and its button pressed; there is nothing else that it does."
TROUBLE = "svmd's database does not answer; try again in a minute."


def asks(offer: Offer) -> str:
    """What it is about, what the button does, and the button."""
    name, until = escape(offer.name), stamp(offer.now + timedelta(seconds=offer.leaselen))
    first = f"<b>{stamp(offer.first_end)}</b>, in {span(offer.first_end, offer.now)}" if offer.first_end else "soon"
    return _html(
        f"Extend {name}",
        f"<p>The first lease of <b>{name}</b> ends at {first}.</p>"
        f"<p>Extending it renews the leases of its {_nodes(offer.nodes)}: each then lasts until about <b>{until}</b>,"
        " or as long as its node allows.</p>"
        f'<form method="post"><button type="submit">Extend {name}</button></form>'
        f"<p>The same from the command line: <code>svm renewslice {name}</code>."
        f" To have it renew itself: <code>svm autorenew {name} on</code>.</p>",
    )


def used(offer: Offer, operation: Operation | None) -> str:
    """After the button: how the renewal stands."""
    return line(f"{used_before(offer)} {_outcome(offer, operation)}", offer.name)


def used_before(offer: Offer) -> str:
    """That the link was used."""
    return f"This link was used at {stamp(offer.used_at)}, and works once."


def deleted(offer: Offer) -> str:
    return f"The slice {offer.name} was deleted, so there is nothing to extend."


def too_late(offer: Offer, link: Link) -> str:
    over = f"This link worked until {stamp(link.deadline)}, when the first lease of {offer.name} ended."
    if not offer.nodes:
        return f"{over} No lease is left: svm createslice with the same file makes the VMs anew."
    return f"{over} Leases that last longer: {offer.nodes}. To renew them: svm renewslice {offer.name}."


def no_permission(offer: Offer) -> str:
    return (
        f"{offer.owner.name}'s permission for links has ended or was withdrawn."
        f" Type svm renewslice {offer.name}, which renews the leases and gives it again."
    )


def line(text: str, title: str = "Nothing was changed") -> str:
    """A page that says one thing."""
    return _html(escape(title), f"<p>{escape(text)}</p>")


def span(end: datetime, now: datetime) -> str:
    """`2 days 4 hours`, in two units."""
    seconds = max(0, int((end - now).total_seconds()))
    parts = ((seconds // 86_400, "day"), (seconds // 3600 % 24, "hour"), (seconds // 60 % 60, "minute"))
    said = [f"{number} {word}{'' if number == 1 else 's'}" for number, word in parts if number]
    return " ".join(said[:2]) or "less than a minute"


def _outcome(offer: Offer, operation: Operation | None) -> str:
    if operation is None:
        return f"svm status {offer.name} shows how it stands."
    if operation.outcome is None:
        return f"The leases of {offer.name} are being renewed; load this page again to see how that ended."
    first = f" The first lease now ends at {stamp(offer.first_end)}." if offer.first_end else ""
    if not operation.failed and not operation.code:
        return f"The leases of all {_nodes(operation.ok)} of {offer.name} were renewed.{first}"
    done = f"{operation.ok} of {_nodes(operation.ok + operation.failed)} of {offer.name} were renewed"
    return f"The leases of {done}.{first} For the others: svm renewslice {offer.name}."


def _nodes(number: int) -> str:
    return f"{number} node{'' if number == 1 else 's'}"


def _html(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>\n"
    )
