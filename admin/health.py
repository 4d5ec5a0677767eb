"""`dslice health`: whether a daemon of this machine is ready, for docker-compose, systemd and people.

It asks the page where the daemon shows its metrics (`DSLICE_METRICS_LISTEN`), Flower at its own address. Nothing secret
passes, so that no certificate is needed.
"""

import json
import os
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import click

NAMES = ("METRICS_LISTEN", "FLOWER_LISTEN")  # settings that say where, the first that is set
PATIENCE = 4  # seconds for an answer
PAUSE = 0.5  # seconds between two tries


@click.command()
@click.argument("address", required=False, metavar="[HOST:PORT]")
@click.option("--wait", type=click.IntRange(0, 3600), default=0, metavar="SECONDS", help="Try for so long (default 0).")
def health(address: str | None, wait: int) -> None:
    """Say whether a daemon is ready, and if not, why not.

    HOST:PORT is where it shows its metrics: DSLICE_METRICS_LISTEN, or DSLICE_FLOWER_LISTEN for Flower, of the
    environment or of the file that DSLICE_CONFIG names, if it is not given. Exit status 0: ready, 1: not.
    """
    place, end = address or _configured(), time.monotonic() + wait
    why = asked(place)
    while why and time.monotonic() < end:
        time.sleep(PAUSE)
        why = asked(place)
    click.echo("\n".join(why) or "ready", err=bool(why))
    sys.exit(bool(why))


def asked(place: str) -> list[str]:
    """What the daemon there says is wrong, a line each; nothing if it is ready."""
    try:
        # Loopback, and not by way of a proxy that the environment may name.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{place}/healthz", timeout=PATIENCE):
            return []
    except urllib.error.HTTPError as error:
        with error:
            return _why(
                error.read(), f"{place} answered {error.code}, which is no daemon's answer: correct the address"
            )
    except (OSError, ValueError) as error:
        return [f"no answer from {place} ({getattr(error, 'reason', error)}): is the daemon up?"]


def _why(body: bytes, otherwise: str) -> list[str]:
    try:
        return [f"{name}: {text}" for name, text in json.loads(body)["why"].items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return [otherwise]


def _configured() -> str:
    path = os.environ.get("DSLICE_CONFIG")
    try:
        kept = tomllib.loads(Path(path).read_text()) if path else {}
    except (OSError, ValueError) as error:
        raise click.ClickException(f"cannot read {path}: {error}") from error
    for name in NAMES:
        found = os.environ.get(f"DSLICE_{name}") or kept.get(name.lower())
        if found:
            return str(found)
    raise click.UsageError("say where: HOST:PORT, or set DSLICE_METRICS_LISTEN as the daemon has it")
