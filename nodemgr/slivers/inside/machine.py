"""What makes a fresh root file system that of a slice: names, the user, and the way to root.

The script runs as the first process of the sliver, with the host's programs, while its working folder is the sliver's
root folder, where nobody was yet. Later starts write nothing there: it is its owner's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from nodemgr.slivers.drivers.driver import NO_VARIABLES
from nodemgr.slivers.inside import boot, etc, relay, sftp
from nodemgr.slivers.inside.view import home_of
from nodemgr.slivers.process.launch import program
from nodemgr.slivers.process.processes import KEEPER_VARIABLE

USER = 1000  # and its group
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What root inside may have, over its own user namespace alone. Not sys_admin: new namespaces and mounts are where most
# holes in the kernel were. Not sys_resource: it would raise what the node limits.
KEPT = (
    *("chown", "dac_override", "dac_read_search", "fowner", "fsetid", "setfcap", "lease"),
    *("kill", "setgid", "setuid", "setpcap", "sys_chroot", "sys_ptrace", "sys_nice", "ipc_lock", "ipc_owner"),
    *("net_bind_service", "net_broadcast", "net_admin", "net_raw", "audit_write"),
)
BOUNDS = ("--bounding-set=" + ",".join(["-all", *(f"+{name}" for name in KEPT)]), "--inh-caps=-all")

# PID 1 of the sliver, before it has mounts of its own: the node manager mounts the sliver's /proc now, for the kernel
# lets nobody do that where the host's is not in sight. The pid in the host's /proc is the one that the host knows.
WAIT = """
read -r pid rest </proc/self/stat
echo "{\\"child-pid\\": $pid}" >&3; exec 3>&-
read -r _
exec unshare --mount --propagation unchanged --ipc --uts --cgroup -- "$@"
"""

# The parts of what makes a root file system the slice's; it is the working folder. Their variables: host, fresh (or
# empty), slice (empty where it is not known yet), keys (what ~/.ssh/authorized_keys says of it), id (the machine-id).
_FRESH = f"""
umask 022
if [ "$fresh" ]; then
    echo "$host" >etc/hostname
    [ ! -L etc/machine-id ] || rm etc/machine-id  # an image may have anything there
    echo "$id" >etc/machine-id
    [ -L etc/hosts ] || ln -sf /etc/slice/hosts/hosts etc/hosts
    [ -d etc/sudoers.d ] || mkdir -m 750 etc/sudoers.d
    (umask 337; echo '#{USER} ALL=(ALL:ALL) NOPASSWD: ALL' >etc/sudoers.d/slice)
    [ -d etc/ssh/ssh_config.d ] || mkdir -p etc/ssh/ssh_config.d
    [ -L etc/resolv.conf ] || ln -sf slice/resolv.conf etc/resolv.conf
    [ -L etc/ssh/ssh_known_hosts ] || ln -sf /etc/slice/hosts/ssh_known_hosts etc/ssh/ssh_known_hosts
    [ -L etc/ssh/ssh_config.d/slice.conf ] || ln -sf /etc/slice/hosts/ssh_config etc/ssh/ssh_config.d/slice.conf
    if [ ! -x usr/bin/sudo ]; then
        install -D -o 0 -g {USER} -m 4750 usr/bin/setpriv usr/local/lib/slice/root
        [ -d usr/local/bin ] || mkdir -p usr/local/bin
        ln -sf /etc/slice/sudo usr/local/bin/sudo
    fi
fi
new=home/.nameless
if [ ! "$slice" ] || [ ! -e "home/$slice" ]; then
    install -d -o {USER} -g {USER} -m 700 "$new" "$new/.ssh"
    install -o {USER} -g {USER} -m 400 dev/null "$new/.ssh/authorized_keys"
fi
"""
_NAMED = f"""
new=home/.nameless
if [ -d "$new" ]; then
    printf "$keys" "$slice" "$slice" >"$new/.ssh/authorized_keys"
    mv "$new" "home/$slice"
fi
if [ "$fresh" ]; then
    echo "$slice:x:{USER}:{USER}:slice $slice:{home_of("$slice")}:{etc.SHELL}" >>etc/passwd
    echo "$slice:x:{USER}:" >>etc/group
    echo "$slice:*:19000:0:99999:7:::" >>etc/shadow
    echo "$slice:*::" >>etc/gshadow
fi
"""
_ARGUMENTS = "host=$1 fresh=$2 slice=$3 keys=$4 id=$5"

# Another argument: `closed` or nothing, whether there are user namespaces.
SCRIPT = f"""
set -e
{_ARGUMENTS} mark=
hostname "$host"
[ ! "$6" ] || echo 0 >/proc/sys/user/max_user_namespaces
{_FRESH}
if [ ! "$slice" ]; then
    echo ready
    read -r slice mark
    mark={KEEPER_VARIABLE}=$mark
fi
{_NAMED}
echo ready
exec env --ignore-signal=CHLD $mark setpriv {" ".join(BOUNDS)} -- chroot . {etc.SLEEP} infinity \\
    <dev/null >dev/null 2>&1
"""

_SFTP = "#!/bin/sh\n" + "".join(f'[ ! -x {path} ] || exec {path} "$@"\n' for path in etc.SFTP_SERVERS)

# A login that works whatever became of /etc/passwd: its groups are those of the user's name, if that is there.
LOGIN = f"""
groups=--clear-groups
while IFS=: read -r name word number rest; do [ "$number" != {USER} ] || groups=--init-groups; done </etc/passwd
exec /usr/bin/setpriv --reuid={USER} --regid={USER} $groups {" ".join(BOUNDS)} -- "$@"
"""

# For a sliver without sudo(8). What makes it work is a copy of setpriv(1) that is setuid and only the slice's user may
# run; the sliver's root may remove both, or install the real one, which is taken then.
SUDO = f"""\
#!/bin/sh
# Stands for sudo until that is installed: the slice's user may be anybody, without a password.
[ ! -x /usr/bin/sudo ] || exec /usr/bin/sudo "$@"
become=/usr/local/lib/slice/root
user=root login= shell= keep= sets=
usage() {{ echo "usage: sudo [-EHikns] [-u USER] [VAR=VALUE...] [COMMAND [ARGUMENT...]]" >&2; exit 1; }}
while [ $# -gt 0 ]; do
    case $1 in
    -u|--user) [ $# -gt 1 ] || usage; user=$2; shift 2 ;;
    -u*) user=${{1#-u}}; shift ;;
    --user=*) user=${{1#*=}}; shift ;;
    -i|--login) login=1; shift ;;
    -s|--shell) shell=1; shift ;;
    -E|--preserve-env) keep=1; shift ;;
    -H|-n|-S|-b|-P|-A|--set-home|--non-interactive|--stdin) shift ;;
    -v|-k|-K|--validate|--reset-timestamp) shift; [ $# -gt 0 ] || exit 0 ;;
    -[EHinsS]?*) rest=${{1#-?}}; first=${{1%"$rest"}}; shift; set -- "$first" "-$rest" "$@" ;;
    --) shift; break ;;
    -*) usage ;;
    *) break ;;
    esac
done
case $user in '#'*) user=${{user#?}} ;; esac
found=
while IFS=: read -r name _ uid gid _ home program; do
    if [ "$name" = "$user" ] || [ "$uid" = "$user" ]; then found=1; break; fi
done </etc/passwd
[ "$found" ] || {{ echo "sudo: unknown user $user" >&2; exit 1; }}
[ "$program" ] || program=/bin/sh
lost="if it has lost that, svm reset SLICE NODE gives it back"
[ -x "$become" ] || {{ echo "sudo: only the slice's user may; $lost" >&2; exit 1; }}
run() {{ exec "$become" --reuid="$uid" --regid="$gid" --init-groups -- "$@"; }}
case ${{1-}} in [A-Za-z_]*=*) sets=1 ;; esac
[ $# -gt 0 ] || [ "$login$shell" ] || usage
if [ ! "$keep" ]; then
    for variable in $(env | sed -n 's/^\\([A-Za-z_][A-Za-z_0-9]*\\)=.*/\\1/p'); do
        case $variable in TERM|LANG|LC_*|LS_COLORS|SSH_*|DISPLAY|COLORTERM|PWD) ;; *) unset "$variable" ;; esac
    done
    export PATH={PATH}
fi
export SUDO_USER="$(id -un)" HOME="$home" USER="$name" LOGNAME="$name" SHELL="$program"
export SUDO_COMMAND="$*" SUDO_UID={USER} SUDO_GID={USER}
[ "$login" ] || home=.
if [ "$login$shell" ]; then
    go='cd "$1"; shift; exec "$@"'
    [ $# -gt 0 ] || run /bin/sh -c "$go" sh "$home" "$program" ${{login:+-l}}
    run /bin/sh -c "$go" sh "$home" "$program" ${{login:+-l}} -c '"$@"' sh "$@"
fi
[ ! "$sets" ] || run env "$@"
run "$@"
"""


def _python(program: str) -> str:
    """Lines of a shell script: whatever Python there is, for the owner may install and remove them."""
    found = " ".join((*etc.SYSTEM_PYTHONS, "/opt/python/bin/python3"))
    start = f'[ ! -x "$python" ] || exec "$python" -I -S /etc/slice/{program} "$@"'
    return f"for python in {found}; do {start}; done\necho 'no python3 here; apt-get install python3' >&2\nexit 127\n"


def first_process(image: Path | None) -> Path:
    """The program that the first process is: of the same system as its libraries."""
    host = Path("/usr/bin/sleep")
    if image is None:
        return host
    own = Path(os.path.realpath(image / "usr/bin/sleep"))
    return own if own.is_file() and own.is_relative_to(os.path.realpath(image)) else host


def script(hostname: str, slice: str, machine_id: str, *, fresh: bool, closed: bool) -> list[str]:
    """The command that makes the other namespaces and the first process; with an empty `slice` it reads that later."""
    words = [*_words(hostname, slice, machine_id, fresh=fresh), "closed" if closed else ""]
    shell = ["/bin/sh", "-c"]
    return [program("unshare"), "--pid", "--fork", "--", *shell, WAIT, "sh", *shell, SCRIPT, "sh", *words]


def made(hostname: str, slice: str, machine_id: str, *, fresh: bool) -> list[str]:
    """The command that makes it the slice's where the first process is another program; with an empty `slice`, all but
    the name."""
    text = f"set -e\n{_ARGUMENTS}\n{_FRESH}" + (_NAMED if slice else "")
    return ["/bin/sh", "-c", text, "sh", *_words(hostname, slice, machine_id, fresh=fresh)]


def named(slice: str) -> list[str]:
    """The command that gives the name to what `made` has made without one."""
    return ["/bin/sh", "-c", f"set -e\n{_ARGUMENTS}\n{_NAMED}", "sh", *_words("", slice, "", fresh=True)]


def _words(hostname: str, slice: str, machine_id: str, *, fresh: bool) -> list[str]:
    keys = etc.AUTHORIZED_KEYS.replace("{slice}", "%s")
    return [hostname, "fresh" if fresh else "", slice, keys, machine_id]


def environment(slice: str, variables: Mapping[str, str] = NO_VARIABLES) -> dict[str, str]:
    """The environment of a session: LANG unless `variables` has another, those, and what is fixed."""
    fixed = {"HOME": home_of(slice), "USER": slice, "LOGNAME": slice, "SHELL": etc.SHELL, "PATH": PATH}
    return {"LANG": "C.UTF-8", **variables, **fixed}


def write_node_part(folder: Path) -> None:
    """What the node manager shows as /etc/slice, beside the key and the first process: refreshed at each start."""
    for name in ("slice", "slice/hosts"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name).chmod(0o755)
    sftp_server, relay_program = _SFTP + _python("sftp_server.py"), "#!/bin/sh\n" + _python("relay.py")
    programs = {"sudo": SUDO, "sftp-server": sftp_server, "relay": relay_program, "boot": boot.with_root(LOGIN)}
    for name, text in programs.items():
        etc.put(folder / "slice" / name, text.encode(), 0o755)
    for name, module in {"sftp_server.py": sftp, "relay.py": relay}.items():
        etc.put(folder / "slice" / name, Path(str(module.__file__)).read_bytes(), 0o644)
    resolvers = Path("/etc/resolv.conf")
    etc.put(folder / "slice/resolv.conf", resolvers.read_bytes() if resolvers.is_file() else b"", 0o644)
