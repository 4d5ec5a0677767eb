"""The verbs by what they are for: what `svm` alone and `svm --help` show, and which verb another tool's word means."""

from collections.abc import Iterator

# A verb that stands in none of them is shown with the last.
GROUPS = {
    "From the howto": (
        *("getads", "createslice", "addkey", "delkey", "nukekeys", "nodelist", "expirations", "renewslice"),
        *("deleteslice", "clean"),
    ),
    "Step by step": ("newtickets", "newleases", "newvms"),
    "See and use": (
        *("slices", "status", "ssh", "ssh-config", "run", "cp", "web", "watch", "history", "cancel", "usage"),
    ),
    "Stop and start": ("stop", "start", "restart", "reset", "shrink"),
    "Automate": ("plan", "apply", "inventory", "targets", "mcp"),
    "Keep going": ("autorenew", "delegate", "undelegate", "heal", "hook", "rekey"),
    "Set up": ("doctor", "config", "completion", "help"),
}
MEANT = {
    **dict.fromkeys(("ls", "list", "slice"), "slices"),
    **dict.fromkeys(("create", "new", "make", "up"), "createslice"),
    **dict.fromkeys(("delete", "rm", "remove", "destroy", "down"), "deleteslice"),
    **dict.fromkeys(("show", "info", "describe", "state"), "status"),
    **dict.fromkeys(("nodes", "hosts"), "nodelist"),
    **dict.fromkeys(("renew", "extend"), "renewslice"),
    **dict.fromkeys(("login", "shell", "connect"), "ssh"),
    **dict.fromkeys(("exec", "cmd"), "run"),
    **dict.fromkeys(("log", "logs", "events"), "history"),
    **dict.fromkeys(("ads", "advertisements", "resources"), "getads"),
    **dict.fromkeys(("wait", "follow"), "watch"),
    "abort": "cancel",
    **dict.fromkeys(("halt", "poweroff", "suspend", "pause"), "stop"),
    **dict.fromkeys(("boot", "resume"), "start"),
    "reboot": "restart",
    **dict.fromkeys(("resize", "scale"), "createslice"),
    **dict.fromkeys(("check", "health"), "doctor"),
    "diff": "plan",
    **dict.fromkeys(("webhook", "notify", "alert"), "hook"),
    **dict.fromkeys(("ui", "gui", "dashboard", "browser"), "web"),
}
"""Other tools' words that are near none of ours."""


def grouped(verbs: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Title and verbs of each group that has any of them."""
    named = {verb for group in GROUPS.values() for verb in group}
    last = list(GROUPS)[-1]
    for title, group in GROUPS.items():
        others = [verb for verb in verbs if verb not in named] if title == last else []
        if found := [*(verb for verb in group if verb in verbs), *others]:
            yield title, found


def overview(verbs: list[str], width: int) -> str:
    """A few lines of at most `width` characters: all verbs by group."""
    import textwrap

    margin = max(map(len, GROUPS)) + 4
    lines = ["svm VERB … makes, uses and deletes slices: small virtual machines on many nodes.", ""]
    for title, names in grouped(verbs):
        first = f"  {title:<{margin - 2}}"
        lines += textwrap.wrap("  ".join(names), width, initial_indent=first, subsequent_indent=" " * margin)
    return "\n".join([*lines, "", "svm help says a line about each, svm help VERB all about one."])


def meant(word: str, verbs: list[str]) -> list[str]:
    """The verbs that somebody may mean who types `word`, the likeliest first."""
    from difflib import get_close_matches

    found = [MEANT[word]] if word in MEANT else get_close_matches(word, verbs, n=3, cutoff=0.75)
    return found or [verb for verb in verbs if word and verb.startswith(word)][:3]
