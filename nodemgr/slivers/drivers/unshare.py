"""The same keeper without bubblewrap: util-linux's unshare, and a shell script that does what bwrap does.

For hosts without bwrap. Everything between `set -e` and the last line runs as the first process of the new
namespaces, before anybody can enter; what fails there ends the sliver's start.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from nodemgr.slivers.drivers.keeper import KeeperDriver
from nodemgr.slivers.inside.view import SHM_BYTES, Bind, Entry, Symlink, Tmpfs
from nodemgr.slivers.process.launch import KEEPER, NAMELESS, STAGES, program
from trust.errors import Code, Refusal

# Arguments: the folder to build the new root in, the hostname, then per entry a word (ro, rw, tmpfs, link) and its own
# words, then --, then the command. The pid in the host's still visible /proc is the one that the host knows.
_BUILD = f"""
set -e
new=$1; hostname "$2"; shift 2
read -r pid rest </proc/self/stat
echo "{{\\"child-pid\\": $pid}}" >&3; exec 3>&-

# Every mount at or below $1 gets the options $2 beside its own (those that the host locked must stay).
remount() {{
    while read -r _ _ _ _ point options _; do
        case $point in *\\\\*) point=$(printf '%b.' "$point"); point=${{point%.}} ;; esac
        case "$point" in "$1"|"$1"/*) ;; *) continue ;; esac
        case "$2" in *ro*) options=ro${{options#r?}} ;; esac
        mount -n -o "remount,bind,$options,$2" "$point" </dev/null
    done <<LIST
$(cat /proc/self/mountinfo)
LIST
}}

mount -n -t tmpfs -o mode=755,size=1m,nosuid,nodev sliver "$new"
mkdir "$new/proc" "$new/dev" "$new/.old"
mount -n -t proc -o nosuid,nodev,noexec proc "$new/proc"
mount -n --bind "$new/proc/sys" "$new/proc/sys"
remount "$new/proc/sys" ro
while [ "$1" != -- ]; do
    kind=$1; shift
    case $kind in
    ro) [ -f "$1" ] || mkdir -p "$new$2"; mount -n --rbind "$1" "$new$2"; remount "$new$2" ro,nosuid,nodev; shift 2 ;;
    rw) mkdir -p "$new$2"; mount -n --rbind "$1" "$new$2"; remount "$new$2" nosuid,nodev; shift 2 ;;
    tmpfs) mkdir -p "$new$1"; mount -n -t tmpfs -o "mode=$3,size=$2,nosuid,nodev" tmpfs "$new$1"; shift 3 ;;
    link) ln -s "$1" "$new$2"; shift 2 ;;
    esac
done
shift

mount -n -t tmpfs -o mode=755,size=64k,nosuid,noexec dev "$new/dev"
for node in null zero full random urandom tty; do
    : >"$new/dev/$node"
    mount -n --bind "/dev/$node" "$new/dev/$node"
    remount "$new/dev/$node" nosuid,noexec
done
mkdir "$new/dev/pts" "$new/dev/shm"
mount -n -t devpts -o newinstance,ptmxmode=0666,mode=620,nosuid,noexec devpts "$new/dev/pts"
mount -n -t tmpfs -o mode=1777,size={SHM_BYTES},nosuid,nodev shm "$new/dev/shm"
ln -s pts/ptmx "$new/dev/ptmx"
ln -s /proc/self/fd "$new/dev/fd"
for n in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${{n%%:*}}" "$new/dev/${{n#*:}}"; done

cd "$new"
pivot_root . .old
cd /
umount -n -l /.old
rmdir /.old
mount -n -o remount,bind,ro,nosuid,noexec /dev
"""
_CLOSE = """
mount -n -o remount,bind,ro,nosuid,nodev /
exec /usr/bin/setpriv --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
"""


class UnshareDriver(KeeperDriver):
    """Slivers whose namespaces unshare(1) makes, for hosts without bubblewrap."""

    name = "unshare"
    tools = ("unshare", "nsenter", "setpriv", "prlimit", "setsid", "mount", "umount", "pivot_root", "hostname")

    def keeper_command(self, hostname: str, view: Sequence[Entry], *, nameless: bool) -> list[str]:
        return unshare_command(hostname, view, nameless=nameless)


def unshare_command(hostname: str, view: Sequence[Entry], *, nameless: bool = False) -> list[str]:
    """The unshare command line of a keeper; the script comes with it as one argument."""
    apart = ["--user", "--map-root-user", "--mount", "--propagation", "private", "--pid", "--fork"]
    apart += ["--ipc", "--uts", "--cgroup", "--"]
    words = [word for entry in view for word in _words(entry)]
    script, first = (_BUILD + 'exec "$@"', NAMELESS) if nameless else (_BUILD + _CLOSE, KEEPER)
    build = ["/bin/sh", "-c", script, "sh", _new_root(view), hostname, *words, "--", *first]
    return [program("unshare"), *apart, *build]


def _new_root(view: Sequence[Entry]) -> str:
    """A folder that every host has and that hides no source of the view when something is mounted on it."""
    sources = [entry.source for entry in view if isinstance(entry, Bind)]
    for stage in STAGES:
        if os.path.isdir(stage) and not any(source.is_relative_to(stage) for source in sources):
            return stage
    raise Refusal(Code.INTERNAL, f"this host has none of {', '.join(STAGES)} free to build a sliver's root in")


def _words(entry: Entry) -> list[str]:
    match entry:
        case Bind(source, target, writable):
            return ["rw" if writable else "ro", str(source), target]
        case Tmpfs(target, size, mode):
            return ["tmpfs", target, str(size), f"{mode:o}"]
        case Symlink(source, target):
            return ["link", source, target]
