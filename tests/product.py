"""Which folders the product is, as pyproject.toml says it."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BUILD = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
PACKAGES: list[str] = _BUILD["targets"]["wheel"]["packages"]
