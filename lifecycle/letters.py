"""What svmd writes to slices' owners: pure texts. When: `lifecycle/notices.py`."""

from datetime import datetime

from lifecycle.links import LEASE
from lifecycle.outbox import Delivery


def deadline_of(one: Delivery) -> datetime:
    """What the letter is about comes, or came, at this moment."""
    return datetime.fromisoformat(str(one.body["deadline"]))


def subject(one: Delivery) -> str:
    """Of the letter."""
    if one.about == "autorenew-ended":
        return f"{one.name}: autorenew has ended"
    what, days = "autorenew ends" if one.about == "autorenew" else "its leases end", int(one.body["days"])
    return f"{one.name}: {what} within {days} day{'s' if days > 1 else ''}"


def body(one: Delivery, link: str | None = None) -> str:
    """What happens when, and what to do. `link`: of a page that extends the leases."""
    when = f"{deadline_of(one):%Y-%m-%d %H:%M:%S} UTC"
    if one.about == LEASE:
        return _lease(one.name, when, link)
    if one.about == "autorenew":
        what = f"Your slice {one.name} renews itself until {when}; after that its leases run out."
        # No permission outlives the certificate that gave it, and that may be what ends then.
        advice = f"To go on:  plkeygen --renew   and then   svm autorenew {one.name} on"
    else:
        what = f"Your slice {one.name} has not renewed itself since {when}: svm history {one.name} says why."
        advice = f"To go on:  svm autorenew {one.name} on"
    return f"{what}\n\n{advice}\n"


def _lease(name: str, when: str, link: str | None) -> str:
    what = f"The first lease of your slice {name} ends at {when}, and nothing renews it."
    advice = f"To keep it:  svm renewslice {name}\nTo have it renew itself:  svm autorenew {name} on"
    if link is None:
        return f"{what}\n\n{advice}\n"
    page = f"To keep it, open this page, which asks once more; it works once, and until then:\n\n{link}\n"
    return f"{what}\n\n{page}\nOr type a command.\n{advice}\n"
