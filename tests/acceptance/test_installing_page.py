"""docs/installing.md: what its tables and blocks have plc's operator type is typed here, in the order of the page.

What needs root, systemd or a machine of its own is tried elsewhere: units in tests/unit/deploy, roles.sh and the roles'
command lines in tests/integration/testbed, wheels and packages in tests/install.
"""

import re
import shlex
from pathlib import Path

import pytest

from tests.acceptance.lab import Lab, Ran

PAGE = (Path(__file__).parents[2] / "docs/installing.md").read_text()
SOMEBODY = "you@example.org"
PASSWORD = "a long password of the page"
# Decided requests and revoked certificates: test_main_job.py and tests/integration/plc.
NOTHING_THERE = ("no certificate request", "has no certificate")


def of_blocks() -> list[str]:
    """`dslice plc …` of the page's console blocks."""
    return re.findall(r"^\$ (dslice plc .*)$", PAGE, re.MULTILINE)


def of_people() -> list[str]:
    """The commands of the table of people; `approve you@…` after `dslice plc requests` is a command, too."""
    table = PAGE.partition("## People")[2].partition("## Sizes")[0]
    found = re.findall(
        r"`((?:dslice plc )?(?:[\w-]+)(?: [^`]*)?)`", table.replace("`plkeygen`", "").replace("`--stop`", "")
    )
    return [each if each.startswith("dslice") else f"dslice plc {each}" for each in found]


def typed(lab: Lab, command: str) -> Ran:
    words = shlex.split(command.replace("…", "a reason"))
    exports = dict(re.findall(r"^export (DSLICE_\w+)=(\S+)$", lab.dslice("env").must().out, re.MULTILINE))
    own = {**exports, "PLANETLAB_HOME": str(lab.folder / "applicant")}
    if words[2] == "no-pi":
        words.append(SOMEBODY)
    return lab.run(*words, typed=f"{PASSWORD}\n{PASSWORD}\n", **(own if words[2] == "sign-up" else {}))


def test_the_first_day(lab: Lab) -> None:
    commands = of_blocks()
    assert [command.split()[2] for command in commands] == ["ca", "add-site", "add-account", "token", "token", "token"]
    for command in commands:
        ran = typed(lab, command)
        already = "Princeton" in command and "already" in ran.err  # the testbed has that site
        assert ran.status == 0 or already, ran.err
        if " token " in command:
            assert re.fullmatch(r"dslice-(agent|svm|node)-\S+", ran.out.strip())


def test_people(lab: Lab) -> None:
    commands = of_people()
    assert {"sign-up", "enable", "make-pi", "no-pi", "requests", "approve", "deny", "disable", "revoke", "history"} <= {
        command.split()[2] for command in commands
    }
    for command in commands:
        ran = typed(lab, command.replace("node/n1", "node/nowhere"))  # n1 is the others' here
        assert ran.status == 0 or any(words in ran.err for words in NOTHING_THERE), f"{command}: {ran.err}"
    assert "disable" in lab.dslice("plc", "history", SOMEBODY).must().out


@pytest.mark.parametrize("heading", ["Who runs what", "Ports", "The clock", "Sizes", "What to watch"])
def test_the_page_has_what_an_operator_looks_for(heading: str) -> None:
    assert f"\n## {heading}\n" in PAGE
