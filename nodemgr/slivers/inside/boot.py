"""The program that a sliver runs at each start, as a shell script: what its owner has put where systems look for it.

It writes `began` to its descriptor 3 if there is anything to run, and `ended STATUS` at its end
(`nodemgr.slivers.process.boot`). STATUS is that of the last part that failed, 0 when none did.
"""

from __future__ import annotations

_OWN = "$HOME/.config/dslice/boot"

_SCRIPT = """\
#!/bin/sh
# Run by the node at each start of the sliver; `log` is written anew each time.
own={own} log={own}.log status=0
{user}
tell() {{ (trap '' PIPE; echo "$1" >&3) 2>/dev/null; }}
run() {{
    "$@" || {{ status=$?; echo "$2: exit status $status"; }}
}}

set --
for each in {places} "$own"; do [ ! -f "$each" ] || [ ! -x "$each" ] || set -- "$@" "$each"; done
[ $# -gt 0 ] || exit 0
tell began
user sh -c 'mkdir -p "${{1%/*}}" && : >"$1"' sh "$log" 2>/dev/null
(: >>"$log") 2>/dev/null || log=/dev/null
for each; do
    case $each in
    "$own") run user "$each" ;;
{cases}
    esac
done >>"$log" 2>&1 3>&-
tell "ended $status"
"""

PLAIN = _SCRIPT.format(own=_OWN, user='user() { "$@"; }', places="", cases="")
"""Where there is one user inside."""


def with_root(login: str) -> str:
    """As root, where there is one: services that packages have installed, in the order of System V's names,
    /etc/rc.local, and then the user's own.

    Args:
        login: shell lines that become the user and run their arguments.
    """
    user = f'user() (\n{login.strip()}\n)\nroot() {{ (cd / && exec env HOME=/root USER=root LOGNAME=root "$@"); }}'
    cases = """\
    /etc/rc2.d/*) run root "$each" start ;;
    *) run root "$each" ;;"""
    return _SCRIPT.format(own=_OWN, user=user, places="/etc/rc2.d/S* /etc/rc.local", cases=cases)
