"""`python -m bench [NAME…]`: the benchmarks, each with its baseline. Without a name all of them run."""

import argparse
from importlib import import_module
from pathlib import Path


def names() -> list[str]:
    """Modules of this folder that have a `main`."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", nargs="*", choices=[*names(), []], help="which to run")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    options = parser.parse_args()
    for name in options.name or names():
        module = import_module(f"bench.{name}")
        print(f"{name}: {(module.__doc__ or '').strip().splitlines()[0]}")
        if not options.list:
            module.main()


main()
