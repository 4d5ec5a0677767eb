"""Where the machine's own packages come from, for images that are built of them."""

from pathlib import Path

import pytest

from admin.images.building import command


def sources(folder: Path, **files: str) -> Path:
    (folder / "sources.list.d").mkdir()
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.write_text(text)
    return folder


DEB822 = "Types: deb\nURIs: http://deb.example.org/debian\nSuites: bookworm bookworm-updates\n"
ONE_LINE = "# mine\ndeb [arch=amd64 signed-by=/k.gpg] https://u.example.org/ubuntu noble main\n"


@pytest.mark.parametrize(
    ("suite", "mirrors"),
    [
        ("bookworm", ["{}/sources.list.d/debian.sources"]),
        ("noble", ["{}/sources.list"]),
        ("trixie", ["https://u.example.org/ubuntu"]),
        ("book", ["https://u.example.org/ubuntu"]),
    ],
)
def test_the_machines_own_sources(tmp_path: Path, suite: str, mirrors: list[str]) -> None:
    apt = sources(tmp_path, sources_list=ONE_LINE, sources_list_d__debian_sources="")
    (apt / "sources.list.d/debian.sources").write_text(DEB822)
    (apt / "sources.list.d/debian.sources.disabled").write_text("Suites: trixie")
    words = command(suite, Path("/x.tar"), apt)
    assert words[words.index("--") + 1 :] == [suite, "/x.tar", *(each.format(apt) for each in mirrors)]


def test_a_machine_without_sources(tmp_path: Path) -> None:
    assert command("bookworm", Path("/x.tar"), tmp_path)[-2:] == ["bookworm", "/x.tar"]
