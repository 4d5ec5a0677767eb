"""docs/operating.md: every command that it names, typed in its order on one testbed.

What each does is looked at by test_operator.py, test_restore.py and test_upgrade_and_back.py; here, whether they stand
there as one may type them.
"""

import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from testbed.daemons import Layout
from testbed.embedded import Postgres, Valkey
from testbed.home import Home
from tests.acceptance.lab import DONE, FAILED, OTHER_PI, PI, Lab, Ran, first_line, until

PAGE = (Path(__file__).parents[3] / "docs/operating.md").read_text()
DAEMONS = ("beat", "worker1", "svmd", "agent", "plc")

# In the foreground, in place of the testbed's own process of that name.
DAEMON_LINES = {
    "dslice run ROLE": ("agent", ("run", "agent")),
    "dslice run plc": ("plc", ("run", "plc")),
    "dslice run ROLE --log-format text": ("beat", ("run", "beat", "--log-format", "text")),
    "dslice run simnodes": ("sim1", ("run", "simnodes")),
}
Typed = Sequence[tuple[str, Sequence[str]]]

FIRST_DAY: Typed = (
    ("dslice plc add-site", ("dslice", "plc", "add-site", "Kansas")),
    ("dslice plc token agent NAME ADDRESS", ("dslice", "plc", "token", "agent", "second", "agent.example.org")),
    ("plkeygen", ("plkeygen", "--status")),
    ("dslice plc requests", ("dslice", "plc", "requests")),
)
HAND: Typed = (
    ("dslice plc make-admin EMAIL", ("dslice", "plc", "make-admin", PI)),
    ("plkeygen --renew", ("plkeygen", "--renew")),
    ("dslice plc history EMAIL", ("dslice", "plc", "history", PI)),
    ("dslice plc history node/NAME", ("dslice", "plc", "history", "node/s1")),
    ("dslice web", ()),  # runs until it is ended: test_web_operator.py
    ("dslice nodes", ("dslice", "nodes")),
    ("dslice node drain NODE --reason WHY", ("dslice", "node", "drain", "s4", "--reason", "new disk")),
    ("svm heal SLICE on", ("svm", "heal", "kept", "on")),
    ("dslice node undrain NODE", ("dslice", "node", "undrain", "s4")),
    ("dslice node retire NODE --reason WHY", ("dslice", "node", "retire", "s4", "--evict", "--reason", "broken")),
    ("dslice slices", ("dslice", "slices")),
    ("dslice slice NAME", ("dslice", "slice", "kept")),
    ("svm status", ("svm", "status", "kept")),
    ("dslice slice delete NAME --reason WHY", ("dslice", "slice", "delete", "gone", "--reason", "abuse")),
    ("dslice evict SLICE NODE… --reason WHY", ("dslice", "evict", "evicted", "s1", "--reason", "abuse")),
    ("svm status", ("svm", "status", "evicted")),
    ("svm history", ("svm", "history", "evicted")),
    ("dslice orphans", ("dslice", "orphans")),
    ("dslice orphan free NODE SLICE --reason WHY", ("dslice", "orphan", "free", "s1", "kept", "--reason", "abuse")),
    ("dslice usage", ("dslice", "usage")),
    ("svm usage", ("svm", "usage")),
)
KEPT_SAFE: Typed = (
    ("svm rekey", ("svm", "rekey", "kept")),
    ("svm doctor", ("svm", "doctor")),
    ("dslice backup FOLDER", ("dslice", "backup", "saved")),
)
PUT_BACK: Typed = (
    ("dslice nodes", ("dslice", "nodes")),
    ("dslice orphans", ("dslice", "orphans")),
    ("dslice orphan free --all --reason WHY", ("dslice", "orphan", "free", "--all", "--reason", "restored")),
    ("svm doctor", ("svm", "doctor")),
    ("svm deleteslice", ("svm", "deleteslice", "evicted")),
    ("dslice plc revoke WHOM --reason WHY", ("dslice", "plc", "revoke", OTHER_PI, "--reason", "lost")),
    ("dslice plc disable EMAIL --reason WHY", ("dslice", "plc", "disable", OTHER_PI, "--reason", "left")),
    ("dslice usage", ("dslice", "usage")),
)
LATER: Typed = (
    ("svm getads --long", ("svm", "getads", "--long")),
    ("svm doctor", ("svm", "doctor")),
    ("dslice doctor", ("dslice", "doctor")),
    ("svm start", ("svm", "start", "kept")),
    ("svm start", ("svm", "start", "kept", "s1")),
    ("dslice backup FOLDER", ("dslice", "backup", "again")),
    ("svm stop", ("svm", "stop", "kept")),
)
STOP = ("dslice stop plc", ())
RESTORE = ("dslice restore FOLDER", ())
IN_ORDER: Typed = (
    ("dslice run ROLE", ()),
    ("dslice run plc", ()),
    *FIRST_DAY,
    *HAND,
    *KEPT_SAFE,
    STOP,
    RESTORE,
    *PUT_BACK,
    *LATER,
    RESTORE,
    ("dslice run ROLE --log-format text", ()),
    ("svm doctor", ()),
    ("dslice run simnodes", ()),
)
# What is said where something is not well: a sliver that was evicted, a node that was retired, no orphan there.
NOT_WELL = {"doctor": "BAD", "orphan": "orphan"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("page"))
    short = {"DSLICE_STOPS_SECONDS": "1", "DSLICE_USAGE_SECONDS": "1", "DSLICE_RECONCILE_SECONDS": "3"}
    made.up(real=0, simulated=4, **short)
    try:
        for name in ("kept", "gone", "evicted"):
            made.create(name, made.simulated[:2]).must()
        yield made
    finally:
        made.down()


def named() -> list[str]:
    """The commands of the page, in its order."""
    found = re.findall(r"`((?:dslice|svm|plkeygen)\b[^`]*)`", PAGE)
    return [" ".join(command.split()) for command in found if command != "svm"]


def typed(lab: Lab, commands: Typed) -> list[Ran]:
    return [well(lab.run(*words)) for _, words in commands if words]


def well(ran: Ran) -> Ran:
    said = next((text for word, text in NOT_WELL.items() if word in ran.argv), None)
    if said is None or ran.status == DONE:
        return ran.must()
    assert said in ran.must(FAILED).out + ran.err
    return ran


def test_the_page_names_these_commands_in_this_order() -> None:
    assert named() == [command for command, _ in IN_ORDER]


@pytest.mark.parametrize("line", DAEMON_LINES)
def test_a_daemon_in_the_foreground(lab: Lab, line: str) -> None:
    name, words = DAEMON_LINES[line]
    home = Home(lab.home)
    layout = Layout(home, home.plan(), Postgres(home.service("database")), Valkey(home.service("broker")))
    (spec,) = [spec for spec in (layout.plc(), *layout.others()) if spec.name == name]
    lab.dslice("stop", name).must()
    env = {**lab.env, **spec.env}
    with subprocess.Popen(
        ["dslice", *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as daemon:
        try:
            assert first_line(daemon).startswith("ready ")
        finally:
            daemon.send_signal(signal.SIGTERM)
        _, said = daemon.communicate(timeout=60)
    assert daemon.returncode == 0
    assert said.startswith("{") is ("text" not in words) or not said
    lab.dslice("start", name).must()


def test_the_first_day(lab: Lab) -> None:
    typed(lab, FIRST_DAY)


def test_the_operators_hand(lab: Lab) -> None:
    typed(lab, HAND)


def test_what_is_kept_safe_and_put_back(lab: Lab) -> None:
    typed(lab, KEPT_SAFE)
    lab.create("later", lab.simulated[2:3]).must()
    restored(lab, "saved")
    until(lambda: "later" in lab.dslice("orphans").out)
    typed(lab, PUT_BACK)
    assert "later" not in lab.dslice("orphans").out


def test_what_comes_later(lab: Lab) -> None:
    typed(lab, LATER)
    restored(lab, "again")
    assert "kept" in lab.svm("slices").must().out


def restored(lab: Lab, folder: str) -> None:
    """Steps 1 to 3 of the page."""
    for name in DAEMONS:
        lab.dslice("stop", name).must()
    lab.dslice("restore", folder).must()
    for name in reversed(DAEMONS):
        lab.dslice("start", name).must()
