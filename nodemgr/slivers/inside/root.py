"""The root file system of a sliver that is a machine: its own, writable, over what it began as.

    VOLUME/root/LAYER/upper work    what was changed in each layer (`base.Layer`); its overlay is mounted by the host's
                                    root, so that nothing inside can give or change what an overlay keeps in attributes
    VOLUME/home/                    /home inside
    VOLUME/tmp/                     /tmp and /var/tmp inside

Everything is mounted in a thread's own mount namespace (`mounts.apart`), and that ends at the sliver's root: the host's
file system is not in it. The first process gets a copy that belongs to the sliver's user namespace, where the kernel
lets nobody take one of these mounts away (mount_namespaces(7), "locked").

VOLUME may be a file system of its own. The node manager opens no path below an `upper` once somebody was inside.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nodemgr.slivers.inside.base import Layer
from nodemgr.slivers.inside.view import RUN_BYTES, SHM_BYTES, Bind
from nodemgr.slivers.process import mounts
from nodemgr.slivers.process.launch import STAGES, program
from nodemgr.slivers.process.mounts import NODEV, NOEXEC, NOSUID, RDONLY
from nodemgr.slivers.process.spawn import run_helper
from trust.errors import Code, Refusal

TTY_GROUP = 5
_DEV_BYTES = 1 << 20
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_DEVICE_LINKS = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd"} | {
    name: f"/proc/self/fd/{number}" for number, name in enumerate(("stdin", "stdout", "stderr"))
}
_FILLED = ("/proc/", "/sys/", "/etc/slice/")  # what is mounted there has these places itself
_SEEDED = "seeded"
# What must be there to be mounted on, whatever the sliver began as.
_PLACES = ("dev", "etc/slice", "home", "proc", "root", "run", "sys", "tmp", "var/tmp")


class Spoilt(Refusal):
    """Somebody inside removed what must be mounted on: a fresh root file system mends it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a sliver's root file system is made of.

    Args:
        layers: what it stands on.
        volume: the folder with its own files.
        shown: what else is seen inside, read-only; the node manager's own belongs to root there.
        first: the host user of its root.
    """

    layers: Sequence[Layer]
    volume: Path
    shown: Sequence[Bind]
    first: int

    @property
    def fresh(self) -> bool:
        """Whether nobody was ever inside this root file system."""
        return not (self.volume / "root" / _SEEDED).exists()

    def make(self) -> None:
        """Make the folders of a fresh one, in the place of one that was never finished."""
        if not self.fresh:
            return
        for name, mode in (("home", 0o755), ("tmp", 0o1777)):
            (self.volume / name).mkdir(exist_ok=True)
            (self.volume / name).chmod(mode)
            os.chown(self.volume / name, self.first, self.first)
        root = self.volume / "root"
        if root.exists():
            shutil.rmtree(root)
        root.mkdir(mode=0o700)
        for layer in self.layers:
            for name in ("upper", "work"):
                (root / layer.name / name).mkdir(parents=True)
            upper = root / layer.name / "upper"
            upper.chmod(stat.S_IMODE(layer.source.stat().st_mode))
            os.chown(upper, self.first, self.first)
        base, top = self.layers[0].source, root / self.layers[0].name / "upper"
        targets = [bind.target[1:] for bind in self.shown if not bind.target.startswith(_FILLED)]
        for place in map(Path, (*_PLACES, *targets)):
            for path in (*reversed(place.parents), place):
                (top / path).mkdir(exist_ok=True)
                shown = base / path
                (top / path).chmod(stat.S_IMODE(shown.stat().st_mode) if shown.is_dir() else 0o755)
                os.chown(top / path, self.first, self.first)


@contextmanager
def built(parts: Parts, user_namespace: int | None, host: int) -> Iterator[Callable[[int], None]]:
    """Mount it all and make it this thread's root (`mounts.take_root`); within `mounts.apart`, whose `host` it is.

    By whose map the files' owners are shifted, is `user_namespace`; None where only the host's root could do that, and
    what slivers stand on is their root's own.

    What it gives mounts what needs a pid namespace, and takes the pid of the first process there. When the block ends
    well the root file system counts as made: it is the sliver's from then on, who may do with it what it likes.

    Raises:
        OSError: the kernel or the file system cannot do it.
        Spoilt: INTERNAL.
    """
    stage = _stage([parts.volume, *(bind.source for bind in parts.shown), *(layer.source for layer in parts.layers)])
    mounts.mount("dslice", stage, "tmpfs", NOSUID | NODEV, "mode=755,size=64k")
    with ExitStack() as opened:
        changes = opened.enter_context(mounts.folder(str(parts.volume / "root")))
        # Whatever is seen inside is opened by its path here, before the sliver's own links are in the way.
        own = {"home": "home", "tmp": "tmp", "var/tmp": "tmp"}
        found = {target: mounts.tree(parts.volume / name, NOSUID | NODEV) for target, name in own.items()}
        for bind in parts.shown:
            shifted = user_namespace if bind.target.startswith("/etc/") else None
            found[bind.target[1:]] = mounts.tree(bind.source, RDONLY | NOSUID | NODEV, shifted)
        if user_namespace is None:  # nobody else makes devices that can be opened
            found |= {f"dev/{name}": mounts.tree(Path("/dev", name), NOSUID | NOEXEC) for name in _DEVICES}
        trees = {target: opened.enter_context(each) for target, each in found.items()}
        root, *others = [opened.enter_context(_overlay(parts, layer, stage, user_namespace)) for layer in parts.layers]
        for layer, other in zip(parts.layers[1:], others, strict=True):
            _attach(other, root, layer.target)
        if user_namespace is None:  # nobody but the host's root may mount a /proc where there is none in sight
            with mounts.tree(Path("/proc"), 0, below=True) as shown:
                _attach(shown, root, "proc")
        mounts.take_root(root, host)
        _mount_devices(root, parts.first, made=user_namespace is not None)
        _mount_tmpfs(root, "sys", NOSUID | NODEV | NOEXEC, "mode=755,size=16k")
        late = {target: trees.pop(target) for target in list(trees) if target.startswith("proc/")}
        for target, each in trees.items():
            if target.startswith("sys/"):
                _make_in_sys(root, target.removeprefix("sys/"))
            _attach(each, root, target)
        yield lambda first: _mount_proc(root, first, late, hosts=user_namespace is None)
        os.close(os.open(_SEEDED, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=changes))


def _mount_proc(root: int, first: int, late: Mapping[str, int], *, hosts: bool) -> None:
    """The /proc of the pid namespace of a first process, by a process that is there for that only. Its switches can be
    read only. `hosts`: the host's is there, and goes."""
    with mounts.within(root, "proc") as folder:
        if os.path.islink("proc") or not os.path.samestat(os.stat("proc"), os.fstat(folder)):
            raise _without("proc")
    inside = [program("nsenter"), "--preserve-credentials", "-p", "-t", str(first), "--"]
    command = [*inside, program("mount"), "-n", "-c", "-t", "proc", "-o", "nosuid,nodev,noexec", "proc", "proc"]
    run_helper(command, "the sliver has no /proc")
    if hosts:
        with mounts.tree(Path("proc"), NOSUID | NODEV | NOEXEC) as own:
            for _ in range(2):
                mounts.take_away(root, "proc")
            _attach(own, root, "proc")
    with mounts.tree(Path("proc/sys"), RDONLY | NOSUID | NODEV | NOEXEC) as switches:
        for target, each in ({"proc/sys": switches} | dict(late)).items():
            _attach(each, root, target)


def _attach(found: int, root: int, target: str) -> None:
    try:
        with mounts.within(root, target) as place:
            mounts.attach(found, place)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _without(target) from error


def _without(target: str) -> Refusal:
    return Spoilt(Code.INTERNAL, f"the sliver's root file system has no folder /{target} any more")


@contextmanager
def _overlay(parts: Parts, layer: Layer, stage: str, user_namespace: int | None) -> Iterator[int]:
    """An overlay over `layer`, mounted below `stage`. By relative paths: its options can be read inside
    (/proc/self/mountinfo)."""
    place, below = f"{stage}/{layer.name}", []
    os.mkdir(place)
    for kind, source in (("base", layer.source), ("beneath", layer.beneath)):
        if source is not None:
            below.append(f"{place}.{kind}")
            os.mkdir(below[-1])
            shown = mounts.tree(source, RDONLY, user_namespace, below=user_namespace is None)
            with shown as found, mounts.folder(below[-1]) as there:
                mounts.attach(found, there)
    os.chdir(parts.volume / "root" / layer.name)
    kept = "userxattr" if user_namespace is None else "redirect_dir=on"
    mounts.mount("root", place, "overlay", NODEV, f"lowerdir={':'.join(below)},upperdir=upper,workdir=work,{kept}")
    with mounts.folder(place) as found:
        yield found


def _mount_devices(root: int, first: int, *, made: bool) -> None:
    """/dev with what every program may use, /run and /dev/shm. In memory, and the sliver's root's; the devices are the
    host's own, and mounted later, unless they can be `made`."""
    owner = f"uid={first},gid={first}"
    _mount_tmpfs(root, "run", NOSUID | NODEV, f"mode=755,size={RUN_BYTES},{owner}")
    with mounts.within(root, "run") as folder:
        for name in ("lock", "screen"):  # the second is where Debian's GNU screen keeps its sockets
            _mkdir(folder, name, 0o1777, first)
    _mount_tmpfs(root, "dev", NOSUID | NOEXEC, f"mode=755,size={_DEV_BYTES},nr_inodes=4096,{owner}")
    with mounts.within(root, "dev") as folder:
        for name, (major, minor) in _DEVICES.items():
            if made:
                mounts.device(folder, name, major, minor, first)
            else:
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder))
        for name, target in _DEVICE_LINKS.items():
            os.symlink(target, name, dir_fd=folder)
        for name in ("pts", "shm"):
            _mkdir(folder, name, 0o755, first)
    _mount_tmpfs(root, "dev/shm", NOSUID | NODEV, f"mode=1777,size={SHM_BYTES},{owner}")
    with mounts.within(root, "dev/pts") as folder:
        options = f"newinstance,ptmxmode=0666,mode=620,gid={first + TTY_GROUP}"
        mounts.mount("devpts", mounts.place(folder), "devpts", NOSUID | NOEXEC, options)


def _make_in_sys(root: int, path: str) -> None:
    with mounts.within(root, "sys") as folder:
        made = Path(mounts.place(folder))
        for name in path.split("/"):
            made /= name
            if not made.exists():  # else it is the kernel's, shown there already
                made.mkdir()
                made.chmod(0o755)


def _mount_tmpfs(root: int, target: str, flags: int, options: str) -> None:
    with mounts.within(root, target) as folder:
        mounts.mount("tmpfs", mounts.place(folder), "tmpfs", flags, options)


def _mkdir(folder: int, name: str, mode: int, owner: int) -> None:
    os.mkdir(name, dir_fd=folder)
    os.chmod(f"{mounts.place(folder)}/{name}", mode)
    os.chown(name, owner, owner, dir_fd=folder)


def _stage(sources: Sequence[Path]) -> str:
    """A folder that every host has and that hides none of `sources` when something is mounted on it."""
    for stage in STAGES:
        if os.path.isdir(stage) and not any(source.is_relative_to(stage) for source in sources):
            return stage
    raise Refusal(Code.INTERNAL, f"this host has none of {', '.join(STAGES)} free to build a sliver's root in")
