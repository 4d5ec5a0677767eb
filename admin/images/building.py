"""How mmdebstrap makes a root file system from the package sources that this machine has itself."""

import re
from collections.abc import Sequence
from pathlib import Path

APT = Path("/etc/apt")
# What a sliver is expected to have beside the smallest Debian: root for its user, and the way to other slivers.
INCLUDED = ("ca-certificates", "openssh-client", "sudo")
_ARCHIVE = re.compile(r"^(?:deb\s+(?:\[[^]]*\]\s*)?|URIs:\s*)(\S+)", re.MULTILINE)


def command(suite: str, tar: Path, apt: Path = APT) -> list[str]:
    """The words after `mmdebstrap`: a small system of this suite, written to `tar`.

    Those of the machine's sources that speak of the suite are taken as they are, security updates among them; for any
    other suite the archive that they name first. Without sources mmdebstrap takes its own.
    """
    texts = {path: path.read_text(errors="replace") for path in _files(apt)}
    mirrors = [str(path) for path, text in texts.items() if re.search(rf"\s{re.escape(suite)}(?:\s|$)", text)]
    return [
        "--variant=minbase",
        f"--include={','.join(INCLUDED)}",
        "--",
        suite,
        str(tar),
        *(mirrors or _archive(texts)),
    ]


def _files(apt: Path) -> list[Path]:
    """As sources.list(5) has them."""
    found = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]
    found += sorted((apt / "sources.list.d").glob("*.sources"))
    return [path for path in found if path.is_file()]


def _archive(texts: dict[Path, str]) -> Sequence[str]:
    return [found[1] for text in texts.values() if (found := _ARCHIVE.search(text))][:1]
