"""Files that a crash, a power cut or a full disk leaves whole: the old content or the new one, never a part.

Imports nothing but the standard library's smallest parts: the command line needs it, and starts fast.
"""

import os
from pathlib import Path

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def replace_file(path: Path, data: bytes, mode: int = 0o600, owner: int | None = None, *, durable: bool = True) -> None:
    """Put `data` in the place of what `path` is now, in one step, on disk when it returns.

    Args:
        path: never followed where it is a link; its folder must be there.
        mode: whatever the umask.
        owner: user and group of the file; None for the caller's.
        durable: else it comes to the disk when the system likes: for what can be made again.

    Raises:
        OSError: it could not be written (ENOSPC on a full disk); what was there is as it was, and nothing is left over.
    """
    fresh = _beside(path)
    write_file(fresh, data, mode, owner, durable=durable)
    try:
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def create_file(path: Path, data: bytes, mode: int = 0o600) -> bool:
    """The same for a file that is made once: False, and nothing done, when another was first."""
    fresh = _beside(path)
    write_file(fresh, data, mode)
    try:
        os.link(fresh, path)
    except FileExistsError:
        return False
    finally:
        fresh.unlink()
    sync_folder(path.parent)
    return True


def write_file(path: Path, data: bytes, mode: int = 0o600, owner: int | None = None, *, durable: bool = True) -> None:
    """A new file on disk, in the place of one that an earlier try left; removed again when it cannot be written.

    For who puts several in place together (and calls `sync_folder` then); one alone is `replace_file`'s.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, _NEW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            if owner is not None:
                os.fchown(file.fileno(), owner, owner)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk: a rename is not, before that."""
    sync(folder)


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path) -> Path:
    """A name of its own for each writer, so that two at once do not write into one another's file."""
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}")
