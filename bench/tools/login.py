"""A slice that OpenSSH's client logs in to: prepared once, then one command a login."""

import subprocess
import time

from bench.tools.stage import Stage


def prepared(stage: Stage, name: str) -> list[str]:
    """A slice of that name with a key on one node; the command line that logs in."""
    key, config = stage.home.directory / f"key-{name}", stage.home.directory / f"ssh_config-{name}"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    stage.svm("createslice", str(stage.slice_file(name, 1)))
    stage.svm("addkey", name, f"{key}.pub")
    told = stage.svm("ssh-config", name).stdout
    config.write_text(told)
    host = next(line.split()[1] for line in told.splitlines() if line.startswith("Host "))
    return ["ssh", "-F", str(config), "-i", str(key), "-oBatchMode=yes", "-oConnectTimeout=60", host]


def logged_in(login: list[str], command: str = "true") -> float:
    """Milliseconds of one command by OpenSSH's client, from its start to its end."""
    began = time.perf_counter()
    subprocess.run([*login, command], check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    return (time.perf_counter() - began) * 1000
