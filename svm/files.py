"""Small files that `svm` keeps below the key directory: where svmd is, and each slice's known_hosts and ssh_config.

All of them can be made again, so a file that cannot be written is never an error of the command that wanted it.
"""

import os
from pathlib import Path

from rpc.files import replace_file
from trust.errors import Code, Refusal


def write_private(path: Path, text: str, *, durable: bool = False) -> None:
    """Replace `path` in one step, readable by its owner only; folders that are missing are made 0700.

    `durable`: it is on disk when this returns; for what cannot be made again.

    Raises Refusal(NOT_ALLOWED) when the file cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, text.encode(), durable=durable)
    except OSError as error:
        raise Refusal(
            Code.NOT_ALLOWED, f"{path} cannot be written ({(error.strerror or 'failed').lower()}); see who owns it"
        ) from None


def slice_folder(directory: Path, name: str) -> Path:
    """Where the files of one slice lie, as in 2003: `~/.planetlab/slices/NAME`."""
    return directory / "slices" / name


def known_slices(directory: Path) -> list[str]:
    """Names of the slices that have a folder: what shell completion offers without asking anyone."""
    try:
        return sorted(entry.name for entry in os.scandir(directory / "slices") if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def known_nodes(directory: Path, name: str) -> list[str]:
    """Addresses of a slice's nodes in the ssh_config that was written last: what completion offers."""
    try:
        lines = (slice_folder(directory, name) / "ssh_config").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    return [line.split()[1] for line in lines if line.startswith("Host ")]


def forget_slice(directory: Path, name: str) -> None:
    """Remove the folder of a slice that is gone."""
    import shutil

    shutil.rmtree(slice_folder(directory, name), ignore_errors=True)
