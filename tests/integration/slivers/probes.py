"""Ways out of a sliver with root inside, each as a shell's condition that holds when it worked.

Each is tried on the host too, by its root in namespaces that can be spoilt, where it has to work: so a probe that could
notice nothing fails. Those of `UNSEEN` cannot be shown there, and why.

Variables: SECRET, a file of the node's; FOLDER, the node manager's for slivers; NODE, its pid; VICTIM, the pid of
another sliver's first process; WORK, a folder to write in; DISK, `major minor` of the node's disk; KEY and SHM, shared
memory.
"""

from __future__ import annotations


def call(number: int, *words: str) -> str:
    """A system call with these arguments (perl's words) that is not refused as such."""
    arguments = ", ".join((str(number), *words))
    return (
        f"perl -e 'use Errno; my $r = syscall({arguments});"
        " exit($r >= 0 || !($!{EPERM} || $!{ENOSYS} || $!{EACCES} || $!{EOPNOTSUPP} || $!{EAFNOSUPPORT}"
        " || $!{EPROTONOSUPPORT}) ? 0 : 1)'"
    )


def opens(path: str) -> str:
    """A file that can be opened for writing; nothing is written."""
    return f"(exec 3>>{path})"


def _any(files: str) -> str:
    """One of them can be opened for writing."""
    return f"for f in {files}; do (exec 3>>$f) && exit; done; false"


_CHROOT = r"""perl -e 'mkdir "$ENV{WORK}/in"; chroot "$ENV{WORK}/in" or exit 1; chdir ".." for 1 .. 99;
chroot "." or exit 1; exit(open(my $f, "<", $ENV{SECRET}) ? 0 : 1)'"""

_HANDLE = r"""perl -e 'my $h = pack("Ii", 128, 0) . "\0" x 128; my $m = pack("i", 0);
my $p = "/usr"; open(my $d, "<", "/usr") or exit 1; syscall(303, -100, $p, $h, $m, 0) == 0 or exit 1;
exit(syscall(304, fileno($d), $h, 0) >= 0 ? 0 : 1)'"""

PROBES: dict[str, str] = {
    # files of the host and of others
    "secret": 'cat "$SECRET"',
    "node-folder": 'ls "$FOLDER"',
    "record": 'cat "$FOLDER/victim/sliver.json"',
    "other-home": 'ls "$FOLDER/victim/home"',
    "other-layer": 'ls "$FOLDER/victim/root"',
    "own-layer": 'ls "$FOLDER/enemy/root"',
    "other-key": 'cat "$FOLDER/victim/etc/slice/ssh_key"',
    "own-etc": 'touch "$FOLDER/enemy/etc/slice/probe"',
    "root-of-1": 'cat "/proc/1/root$SECRET"',
    "root-of-all": 'for at in /proc/[0-9]*/root; do cat "$at$SECRET" && exit; done; false',
    "cwd-of-all": 'for at in /proc/[0-9]*/cwd; do cat "$at/../../../../../../../..$SECRET" && exit; done; false',
    "descriptors": 'for at in /proc/[0-9]*/fd/*; do cat "$at/../../../../../../../..$SECRET" && exit; done; false',
    "mapped-files": "ls -l /proc/1/map_files | grep -q sbin",
    "chroot": _CHROOT,
    "handle": _HANDLE,
    "machine-id": '[ "$(cat /etc/machine-id)" = "$ID" ]',
    # processes of the host and of others
    "node-signal": 'kill -0 "$NODE"',
    "node-environment": 'cat "/proc/$NODE/environ"',
    "node-memory": 'head -c 0 "/proc/$NODE/mem"',
    "node-trace": "perl -e 'exit(syscall(101, 0x4206, $ENV{NODE} + 0, 0, 0) == 0 ? 0 : 1)'",
    "node-handle": "perl -e 'exit(syscall(434, $ENV{NODE} + 0, 0) >= 0 ? 0 : 1)'",
    "node-mounts": 'nsenter -t "$NODE" -m true',
    "node-network": 'nsenter -t "$NODE" -n true',
    "host-network-again": "nsenter -t $$ -n true",
    "other-signal": 'kill -0 "$VICTIM"',
    "other-root": 'ls "/proc/$VICTIM/root/"',
    "other-namespaces": 'nsenter -t "$VICTIM" -p true',
    "all-processes": "[ $(ls -d /proc/[0-9]* | wc -l) -gt 40 ]",
    # more than its share
    "real-time": "chrt -r 50 true",
    "first-in-line": "renice -n -10 $$",
    "open-files": "ulimit -n 1000000",
    "never-killed": "echo -1000 >/proc/self/oom_score_adj",
    "locked-memory": "ulimit -l unlimited",
    # devices
    "device-at-home": 'mknod "$WORK/null" c 1 3 && (exec 3<"$WORK/null")',
    "disk-at-home": 'mknod "$WORK/disk" b $DISK && head -c 1 "$WORK/disk"',
    "disk-in-dev": "mknod /dev/probe$$ b $DISK && head -c 1 /dev/probe$$ && rm /dev/probe$$",
    "memory-device": 'mknod "$WORK/mem" c 1 1 && head -c 0 "$WORK/mem"',
    "kernel-log-device": 'mknod "$WORK/kmsg" c 1 11 && (exec 3<"$WORK/kmsg")',
    "fuse": 'mknod "$WORK/fuse" c 10 229 && [ -c "$WORK/fuse" ]',
    "loop": 'mknod "$WORK/loop" c 10 237 && (exec 3<"$WORK/loop")',
    "kcore": "head -c 1 /proc/kcore | grep -q .",
    "kernel-log": "dmesg",
    "kernel-messages": "(exec 3</proc/kmsg)",
    "kernel-addresses": "grep -qv '^0000000000000000' /proc/kallsyms",
    # mounts
    "tmpfs": "mount -t tmpfs probe /mnt",
    "proc": "mount -t proc probe /mnt",
    "sysfs": "mount -t sysfs probe /mnt",
    "cgroup": "mount -t cgroup2 probe /mnt",
    "overlay": 'cd "$WORK" && mkdir -p u w; mount -t overlay -o lowerdir=/usr,upperdir=u,workdir=w probe /mnt',
    "bind": "mount --bind / /mnt",
    "unmount-proc": "umount -l /proc",
    "unmount-switches": "mount --bind /proc/sys /proc/sys; umount /proc/sys",
    "remount": "mount -o remount,rw /",
    "pivot-root": "cd /mnt && mount -t tmpfs x /mnt && cd /mnt && mkdir old && pivot_root . old",
    "fsopen": call(430, "my $n = q(tmpfs)", "0"),
    "open-tree": call(428, "-100", "my $n = q(/)", "1"),
    "move-mount": call(429, "-1", "my $a = q()", "-1", "my $b = q()", "4"),
    "mount-attributes": call(442, "-100", "my $p = q(/none)", "0", "my $a = chr(0) x 32", "32"),
    # namespaces
    **{f"new-{kind}": f"unshare --{kind} true" for kind in ("user", "mount", "net", "ipc", "uts", "cgroup", "time")},
    "new-pid": "unshare --pid --fork true",
    "host-name": "hostname probe",
    # control groups
    "group-join": _any("$(find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs)"),
    "group-make": "for d in /sys/fs/cgroup/* /sys/fs/cgroup; do mkdir $d/probe$$ && rmdir $d/probe$$ && exit; done;"
    " false",
    "group-agent": _any("$(find /sys/fs/cgroup -maxdepth 2 -name release_agent)"),
    # the kernel's switches
    **{
        f"switch-{path}": opens(f"/proc/sys/{path}")
        for path in (
            *("kernel/core_pattern", "kernel/modprobe", "kernel/sysrq", "kernel/hostname", "kernel/shmmax"),
            *("vm/drop_caches", "vm/overcommit_memory", "net/ipv4/ip_forward", "fs/file-max"),
            *("user/max_user_namespaces", "kernel/randomize_va_space", "kernel/pid_max"),
        )
    },
    "sysrq": opens("/proc/sysrq-trigger"),
    "interrupts": _any("/proc/irq/*/smp_affinity"),
    "power": opens("/sys/power/state"),
    "uevent": opens("/sys/kernel/uevent_helper"),
    "memory-limit-of-all": "find /sys/fs/cgroup -name memory.limit_in_bytes -o -name memory.max | while read -r f;"
    " do [ -w $f ] && exit 7; done; [ $? = 7 ]",
    # the kernel's calls
    "keys": call(250, "0", "-3", "0"),
    "key-made": call(248, "my $t = q(user)", "my $d = q(probe)", "my $p = q(x)", "1", "-3"),
    "bpf": call(321, "5", "my $a = chr(0) x 128", "128"),
    "perf": call(298, "my $a = chr(0) x 128", "0", "-1", "-1", "0"),
    "userfaultfd": call(323, "1"),
    "io-uring": call(425, "1", "my $p = chr(0) x 120"),
    "fanotify": call(300, "0", "0"),
    "module": call(175, "0", "0", "my $o = q()"),
    "module-file": call(313, "-1", "my $o = q()", "0"),
    "kexec": call(246, "0", "999", "0", "0"),
    "reboot": call(169, "1", "2", "3"),
    "swap": call(167, "my $p = q(/none)", "0"),
    "accounting": call(163, "my $p = q(/none)"),
    "clock": call(227, "0", "0"),
    "ports-of-the-bus": call(172, "0") + " && " + call(173, "0", "1", "1"),
    "quota": call(179, "0x800007 << 8", "0", "0", "0"),
    # sockets and shared memory
    "raw-socket": "perl -MSocket -e 'exit(socket(my $s, 2, 3, 1) ? 0 : 1)'",
    "packet-socket": "perl -MSocket -e 'exit(socket(my $s, 17, 3, 0) ? 0 : 1)'",
    "low-port": "perl -MSocket -e 'socket(my $s, 2, 1, 0); exit(bind($s, sockaddr_in(997, INADDR_LOOPBACK)) ? 0 : 1)'",
    "audit-socket": "perl -MSocket -e 'exit(socket(my $s, 16, 3, 9) ? 0 : 1)'",
    "cipher-socket": "perl -MSocket -e 'exit(socket(my $s, 38, 5, 0) ? 0 : 1)'",
    "host-socket-file": "perl -MIO::Socket::UNIX -e 'exit(IO::Socket::UNIX->new(\"$ENV{FOLDER}/../control\") ? 0 : 1)'",
    "host-shared-memory": 'ipcs -m | grep -q " $KEY "',
    "host-dev-shm": 'cat "/dev/shm/$SHM"',
    # overlays and shifted ids
    "trusted-attribute": call(188, "$ENV{WORK}", "my $n = q(trusted.overlay.opaque)", "my $v = q(y)", "1", "0"),
    "id-beyond-the-range": 'touch "$WORK/f"; chown 70000 "$WORK/f"',
    "immutable": 'touch "$WORK/i"; chattr +i "$WORK/i" && chattr -i "$WORK/i"',
    "another-map": "echo '0 0 1' >/proc/self/uid_map",
}

UNSEEN = {
    "own-etc": "its root may write there",
    "host-network-again": "it works for a root of that network alone, which the host's in its own namespaces is too",
    "root-of-1": "the host's first process may be in another place",
    **dict.fromkeys(("open-files", "never-killed", "locked-memory"), "the host's root may lack CAP_SYS_RESOURCE"),
    **dict.fromkeys(
        ("switch-kernel/modprobe", "switch-kernel/sysrq", "sysrq", "ports-of-the-bus"), "not in every kernel"
    ),
    "switch-user/max_user_namespaces": "the host's root may lack CAP_SYS_RESOURCE",
    **dict.fromkeys(("disk-at-home", "disk-in-dev"), "the host's root may not read the disk itself"),
    "mapped-files": "depends on what the host's first process is",
    "machine-id": "true by itself",
    "another-map": "nobody maps twice",
    "cipher-socket": "this kernel may have none",
    "uevent": "this kernel may have none",
    "power": "this kernel may have none",
    "userfaultfd": "this kernel may have none",
    "audit-socket": "this kernel may have none",
    "kernel-messages": "one reader",
    "fuse": "depends on the kernel",
    "loop": "depends on the kernel",
    "perf": "this kernel may have none",
    "bpf": "this kernel may have none",
    "keys": "this kernel may have none",
    "key-made": "this kernel may have none",
    "kexec": "this kernel may have none",
    "accounting": "this kernel may have none",
    "quota": "this kernel may have none",
    "module": "this kernel may have none",
    "module-file": "this kernel may have none",
    "io-uring": "this kernel may have none",
    "fanotify": "this kernel may have none",
    "kcore": "this kernel may have none",
    "memory-device": "this kernel may have none",
    "kernel-addresses": "this kernel may hide them",
    "interrupts": "this kernel may have none",
    "group-agent": "version 2 has none",
    "memory-limit-of-all": "there may be none",
    "immutable": "depends on the file system",
}
