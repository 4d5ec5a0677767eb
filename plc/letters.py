"""What plc writes to people: pure texts. The first line says what happened, the last what to do next."""

from collections.abc import Sequence
from datetime import datetime

from plc.client.orders import Drain
from plc.mail import Letter


def certificate_requested(operator: str, email: str, name: str, site: str, role: str, key_sha256: str) -> Letter:
    """To the CA operator, who inspects and verifies it (docs/howto.md, "A certificate")."""
    body = f"""\
{name} <{email}> asks for a certificate.

Site:        {site}
Standing:    {role}
Public key:  SHA-256 {key_sha256}

Approve it:  dslice plc approve {email}
Deny it:     dslice plc deny {email} --reason "WHY"
"""
    return Letter(operator, f"Certificate request from {email}", body)


def certificate_issued(email: str, name: str, not_after: datetime) -> Letter:
    body = f"""\
{name}, your PlanetLab certificate is ready. It is valid until {_day(not_after)}.

Download it:  plkeygen --refresh
"""
    return Letter(email, "Your PlanetLab certificate is ready", body)


def certificate_ends(email: str, name: str, not_after: datetime) -> Letter:
    """Some days ahead (`plc.reminders`)."""
    body = f"""\
{name}, your PlanetLab certificate ends on {_day(not_after)}. After that neither svm nor autorenew can
act for you, and your slices run out with their leases.

Get the next one:  plkeygen --renew
"""
    return Letter(email, f"Your PlanetLab certificate ends on {_day(not_after)}", body)


def certificate_denied(email: str, name: str, reason: str, operator: str) -> Letter:
    body = f"""\
{name}, your request for a PlanetLab certificate was denied:

    {reason}

Answer to {operator}, or ask again with:  plkeygen
"""
    return Letter(email, "Your PlanetLab certificate request was denied", body)


def account_asked_for(recipient: str, email: str, name: str, site: str) -> Letter:
    """To the PIs of the site, or the operator of plc where there is none."""
    body = f"""\
{name} <{email}> asks for an account at {site}.

If you know this person, enable it:  dslice plc --as-me enable {email}
(the operator of plc:  dslice plc enable {email})
Otherwise do nothing.
"""
    return Letter(recipient, f"Account request from {email}", body)


def sign_up_again(email: str) -> Letter:
    """To the holder of an account that somebody signed up for again; the caller was told nothing."""
    body = f"""\
Somebody asked for a PlanetLab account for {email}, which has one already. Nothing was changed.

If it was you: your account and password are as they were. If you forgot the password, ask the operator of plc.
"""
    return Letter(email, "You have a PlanetLab account already", body)


def account_enabled(email: str, name: str, site: str) -> Letter:
    body = f"""\
{name}, your PlanetLab account at {site} is enabled.

Ask for your certificate:  plkeygen
"""
    return Letter(email, "Your PlanetLab account is enabled", body)


def account_disabled(email: str, name: str, reason: str, slices: Sequence[str], stopped: bool, operator: str) -> Letter:
    """To the owner, naming the slices that the account still holds."""
    fate = "are being stopped now" if stopped else "end when their leases do and cannot be renewed"
    held = f"Your slices ({', '.join(slices)}) {fate}.\n" if slices else "You held no slices.\n"
    body = f"""\
{name}, your PlanetLab account was disabled and your certificates were revoked:

    {reason}

{held}
If you think that this is wrong, answer to {operator}.
"""
    return Letter(email, "Your PlanetLab account was disabled", body)


def became_pi(email: str, name: str, site: str) -> Letter:
    body = f"""\
{name}, you are now a principal investigator of {site}: you may create slices and enable accounts of your site.

Have it written into your certificate:  plkeygen --renew   (without one: plkeygen)
"""
    return Letter(email, "You are now a PI on PlanetLab", body)


def no_longer_pi(email: str, name: str, site: str) -> Letter:
    body = f"""\
{name}, you are no longer a principal investigator of {site}. Your certificates were revoked.

Ask for a certificate without that privilege:  plkeygen
"""
    return Letter(email, "You are no longer a PI on PlanetLab", body)


def node_drained(email: str, name: str, drain: Drain, slices: Sequence[str]) -> Letter:
    """To the owners of slices that have slivers there."""
    when = f"until {_day(drain.until)}" if drain.until else "until further notice"
    fate = (
        "Slivers that are there stay, and their leases can be renewed."
        if drain.renews
        else "Slivers that are there stay until their leases end, which cannot be renewed."
    )
    body = f"""\
{name}, node {drain.node} of PlanetLab takes no new slivers {when}:

    {drain.reason}

{fate}
Yours there: {", ".join(slices)}
{_moving(slices[0]) if drain.replaces else ""}
See how they stand:  svm status {slices[0]}
"""
    return Letter(email, f"Node {drain.node} takes no new slivers", body)


def _moving(slice: str) -> str:
    return f"""
A slice that heals gets another node in its place. Its sliver on the old node ends when the new one runs, and its files
with it: copy what you need. To have a slice heal:  svm heal {slice} on
"""


def slivers_removed(email: str, name: str, slice: str, nodes: Sequence[str], reason: str, whole: bool) -> Letter:
    """To the owner of slivers that the operator has nodes remove."""
    what = "is being deleted by PlanetLab's operator" if whole else "loses slivers by order of PlanetLab's operator"
    where = "" if whole else f"\nNodes: {', '.join(nodes)}\n"
    ask = f"See what is left:  svm status {slice}" if not whole else f"See what happened:  svm history {slice}"
    body = f"""\
{name}, your slice {slice} {what}:

    {reason}
{where}
Their files are gone with them. {ask}
"""
    return Letter(email, f"{slice}: {'deleted' if whole else 'slivers removed'} by the operator", body)


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
