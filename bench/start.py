"""CPU of `svm`, and of `import dslice`, from start to exit, against loading the libraries that it cannot do without.

svmd answers at once here, with TLS; what it and the nodes take is the other benchmarks' business.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.tools.tables import Table
from tests.unit.svm.answering import PLC, answering

ROUNDS = 9
LIBRARIES = "import click, http.client, ssl, cryptography.x509"
SVM = [sys.executable, "-m", "svm.main"]


def main() -> Sequence[Table]:
    with tempfile.TemporaryDirectory() as folder, answering(Path(folder)) as home:
        commands = {
            "libraries alone": [sys.executable, "-c", LIBRARIES],
            "import dslice": [sys.executable, "-c", "import dslice"],
            "svm --help": [*SVM, "--help"],
            "svm slices": [*SVM, "slices"],
            "svm status": [*SVM, "status", "demo"],
            "svm addkey": [*SVM, "addkey", "demo", f"{folder}/alice.pub"],
            "svm createslice": [*SVM, "createslice", f"{folder}/demo.xml"],
        }
        compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}  # by the first round
        environment = os.environ | compiled | {"PLANETLAB_HOME": str(home), "DSLICE_PLC_URL": PLC}
        found: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):  # in turns, so that other load on the machine hits all of them
            for name, argv in commands.items():
                found[name].append(processor_seconds(argv, environment))
    base = statistics.median(found["libraries alone"])
    rows = [(name, statistics.median(times) * 1000, statistics.median(times) / base) for name, times in found.items()]
    return [Table("start", f"CPU of svm, 8 nodes, warm, median of {ROUNDS}", ("", "ms", "ratio"), rows)]


def processor_seconds(argv: list[str], environment: dict[str, str]) -> float:
    """User and system, of a command that succeeds."""
    command = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(command.pid, 0)
    command.returncode = os.waitstatus_to_exitcode(status)
    assert command.returncode == 0
    return used.ru_utime + used.ru_stime
