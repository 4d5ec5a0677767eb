"""Man pages: one for each program and each verb, which man can read."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from admin.man import main, page_source, programs, roff, write
from admin.pages import PAGES
from admin.variables import KNOWN
from svm import exit_codes
from svm.main import VERBS
from svm.slicefile import parse_slice_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("man") / "man1"
    write(found)
    return found


def verbs(name: str, command: click.Command) -> list[str]:
    """The names of a program's pages, as the program itself lists its verbs."""
    if not isinstance(command, click.Group):
        return [name]
    context = click.Context(command)
    found = [(verb, command.get_command(context, verb)) for verb in command.list_commands(context)]
    return [name, *(page for verb, each in found if each and not each.hidden for page in verbs(f"{name}-{verb}", each))]


def test_each_verb_has_its_page(folder: Path) -> None:
    wanted = [page for name, program in programs().items() for page in verbs(name, program)]
    assert sorted(path.stem for path in folder.iterdir()) == sorted(wanted)
    assert {f"svm-{verb}" for verb in VERBS} < set(wanted)
    assert {"plkeygen", "pluserinfo", "dslice-up", "dslice-plc-approve"} < set(wanted)


def test_a_page_says_what_help_says(folder: Path) -> None:
    page = (folder / "svm-expirations.1").read_text()
    assert "svm\\-expirations \\- List when each lease of a slice ends." in page
    assert "\\-\\-table" in page
    assert ".nf\nsvm getads  " in (folder / "svm.1").read_text()


@pytest.mark.parametrize("name", ["svm", "plkeygen", "pluserinfo", "dslice"])
def test_a_program_s_page_says_what_its_help_has_no_room_for(folder: Path, name: str) -> None:
    titles = [
        line.removeprefix(".SH ") for line in (folder / f"{name}.1").read_text().splitlines() if line[:4] == ".SH "
    ]
    assert {"FILES", "ENVIRONMENT", "EXIT STATUS", "EXAMPLES"} <= set(titles)
    assert len(set(titles)) == len(titles)


def test_what_the_pages_say_is_so() -> None:
    """Examples that are commands of ours, variables and statuses that are there, a slice file that is taken."""
    for page, sections in PAGES.items():
        assert page.split("-")[0] in programs()
        for line in str(sections["EXAMPLES"]).splitlines():
            typed = shlex.split(line.partition("; ")[2] or line, comments=True)
            for program in set(typed[:1]) & programs().keys():
                context = click.Context(programs()[program], resilient_parsing=True)
                words = [word for word in typed[1:] if not word.startswith(("-", "64"))]
                command = context.command
                assert not isinstance(command, click.Group) or command.get_command(context, words[0]), line
        names = re.findall(r"DSLICE_\w+", str([sections.get("ENVIRONMENT"), sections.get("FILES")]))
        assert set(names) <= KNOWN | {"DSLICE_", "DSLICE_STATE_DIR"}
    found = parse_slice_file(str(PAGES["svm"]["SLICE FILE"]).encode())
    assert (found.name, found.numnodes, len(found.ips)) == ("oceanstore", 2, 3)
    statuses = {int(term[0]) for term in PAGES["svm"]["EXIT STATUS"]}
    assert statuses == {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}


def test_nothing_in_a_text_is_taken_as_a_command_of_troff() -> None:
    assert roff(".pub\nC:\\x -f") == "\\&.pub\nC:\\ex \\-f"
    assert roff("a\n\n\b\none\ntwo\n\nb") == "a\n\n.nf\none\ntwo\n.fi\n\nb"


def test_the_programs_themselves_stay_as_they_are() -> None:
    program = programs()["svm"]
    before = program.help
    page_source(program)
    assert program.help == before
    assert vars(program)["commands"] == {}


def test_man_reads_them_without_a_warning(folder: Path) -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("no groff on this machine")
    read = subprocess.run(
        [groff, "-man", "-ww", "-z", "-Tutf8", *sorted(folder.iterdir())], capture_output=True, text=True
    )
    assert (read.returncode, read.stderr) == (0, "")


def test_written_where_it_is_said(tmp_path: Path) -> None:
    ended = CliRunner().invoke(main, [str(tmp_path / "man1")])
    assert ended.exit_code == 0
    assert (tmp_path / "man1" / "svm-createslice.1").is_file()
    assert f"man pages in {tmp_path / 'man1'}" in ended.output
