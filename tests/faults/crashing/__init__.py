"""Processes of the testbed that die (SIGKILL) at each point of what they do, the first time that they come there.

A file in $FAULTS_POINTS says that a point has had its death, so that one round goes through all of them. The points of
a worker are those of a step (`worker`), of all others those of a request that changes something (`requests`).
"""

import os
import signal
from pathlib import Path

POINTS = "FAULTS_POINTS"


def die(point: str) -> None:
    """The first time only."""
    try:
        os.close(os.open(Path(os.environ[POINTS]) / point.replace("/", " "), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
