"""docs/notebook.ipynb, run by Jupyter's own client: what each cell shows."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.lab import BIN, Lab

PAGE = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


def shown(cell: dict[str, Any]) -> str:
    """What stands below a cell: text, and what is shown as HTML."""
    parts: list[str] = []
    for output in cell["outputs"]:
        data = output.get("data", {})
        parts += output.get("text", []) if "text" in output else data.get("text/html") or data.get("text/plain", [])
    return "".join(parts)


@pytest.mark.timeout(300)
@pytest.mark.skipif(not (BIN / "jupyter-execute").exists(), reason="needs nbclient and ipykernel, of the extra dev")
@pytest.mark.skipif(not (shutil.which("ssh") and shutil.which("unshare")), reason="needs openssh-client and util-linux")
def test_every_cell_shows_what_it_should(lab: Lab) -> None:
    text = (
        PAGE.read_text()
        .replace("id_slice", lab.key("id_notebook"))
        .replace("nodes=3", f"nodes={lab.real}".replace('"', "'"))
    )
    (lab.folder / "page.ipynb").write_text(text)
    lab.run("jupyter-execute", "--inplace", "page.ipynb").must()
    cells = [
        cell for cell in json.loads((lab.folder / "page.ipynb").read_text())["cells"] if cell["cell_type"] == "code"
    ]
    made, results, renewed, history, deleted = map(shown, cells)
    assert '<b>createslice notebook</b> <progress value="3" max="3">' in made  # the bar, and then the slice
    assert "<b>notebook: open, 3 of 3 running</b>" in made
    assert made.count("<tr>") == 4
    assert sorted(line.partition(":")[0] for line in results.splitlines()) == lab.real
    assert '<b>renewslice notebook</b> <progress value="3" max="3"></progress> 3 of 3 nodes · done' in renewed
    assert history.splitlines()[-1] == "ended renewslice"
    assert "'done'" in deleted
