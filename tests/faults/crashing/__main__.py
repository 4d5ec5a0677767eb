"""`python -m tests.faults.crashing ROLE N`: keep N such processes alive, a new one for each that dies."""

import gc
import os
import sys
import time
from typing import NoReturn

from admin import roles
from testbed import forking
from tests.faults.crashing import daemons, worker

ARM = {"worker": worker.arm, "svmd": daemons.arm_svmd, "agent": daemons.arm_agent, "simnodes": daemons.arm_nodes}
PAUSE = 0.1
"""Seconds before the next one: what cannot start must not spin."""


def main(role: str, size: int) -> NoReturn:
    """Each is forked with everything imported."""
    forking.import_shared()
    ARM[role]()
    gc.freeze()
    crew: set[int] = set()
    while True:
        while len(crew) < size:
            pid = os.fork()
            if pid == 0:
                roles.run(role)
                os._exit(0)
            crew.add(pid)
        crew.discard(os.wait()[0])
        time.sleep(PAUSE)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
