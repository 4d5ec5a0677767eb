"""docker-compose.yml read as Compose reads it, and its containers as processes of this machine.

Where the machine can, each runs under the filter of its systemd unit, so that this is seen to hinder nothing.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.integration.testbed import confined

ROOT = Path(__file__).parents[3]
UNITS = {"worker": "worker@"}  # services whose unit has another name; those of nodes have none that filters
_VARIABLE = re.compile(r"\$\{(\w+)(?::(\?|-)([^}]*))?\}")


class MissingError(Exception):
    """A variable that the file demands and nobody gave."""


def load(variables: Mapping[str, str]) -> dict[str, Any]:
    """The file with its variables replaced; MissingError for a demanded one."""

    def value(found: re.Match[str]) -> str:
        name, kind, default = found.groups()
        given = variables.get(name, "")
        if not given and kind == "?":
            raise MissingError(name)
        return given or (default if kind == "-" else "")

    def replaced(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: replaced(child) for key, child in node.items()}
        if isinstance(node, list):
            return [replaced(child) for child in node]
        return _VARIABLE.sub(value, node) if isinstance(node, str) else node

    found: dict[str, Any] = replaced(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))
    return found


@dataclass(slots=True)
class Host:
    """This machine in the place of all containers.

    Args:
        folder: where volumes lie.
        places: texts of the file to what they are here: host names, addresses, whole servers; longest first.
        ports: (service, port in its container) to the port here.
    """

    folder: Path
    places: Mapping[str, str]
    ports: Mapping[tuple[str, int], int]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, name: str, service: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        """The service's command line with its environment, in the background; output in `folder/NAME.log`."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                self._argv(name, service),
                env=self._env(name, service),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.running.append(process)
        return process

    def is_healthy(self, name: str, service: Mapping[str, Any]) -> bool:
        """Its health check, once."""
        kind, *words = service["healthcheck"]["test"]
        assert kind == "CMD"
        argv = [self._here(name, service, word) for word in words]
        if argv[0] == "dslice":
            argv[:1] = [sys.executable, "-m", "testbed"]
        return subprocess.run(argv, env=self._env(name, service), capture_output=True).returncode == 0

    def stop(self) -> None:
        """End all of them, the last first."""
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _argv(self, name: str, service: Mapping[str, Any]) -> list[str]:
        words = [self._here(name, service, word) for word in service["command"]]
        unit = ROOT / f"deploy/systemd/dslice-{UNITS.get(name, name)}.service"
        filtered = unit.exists() and confined.lacking() is None
        prefix = [sys.executable, confined.__file__, str(unit)] if filtered else []
        return [*prefix, sys.executable, "-m", "testbed", *words]  # the image's entry point is `dslice`

    def _env(self, name: str, service: Mapping[str, Any]) -> dict[str, str]:
        given = {key: self._here(name, service, str(value)) for key, value in service["environment"].items()}
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(self.folder), **given}

    def _here(self, name: str, service: Mapping[str, Any], text: str) -> str:
        for volume in service.get("volumes", ()):
            source, target = volume.split(":")[:2]
            text = text.replace(target, str(self.folder / source))
        for (owner, port), here in self.ports.items():
            if owner == name:
                text = re.sub(rf"\b(0\.0\.0\.0|127\.0\.0\.1)(:|', ){port}\b", rf"127.0.0.1\g<2>{here}", text)
            text = re.sub(rf"//{owner}:{port}\b", f"//127.0.0.1:{here}", text)
        for place, ours in self.places.items():
            text = text.replace(place, ours)
        return text
