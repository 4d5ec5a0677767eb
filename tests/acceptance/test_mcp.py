"""`svm mcp`, spoken to by the protocol's own client."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.lab import PI, USAGE, Lab

pytest.importorskip("mcp", reason="needs mcp, of the extra dev")

# Lists the tools, and calls each that is named on the command line.
CLIENT = """
import asyncio, json, os, sys
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

async def main():
    server = StdioServerParameters(command="svm", args=["mcp"], env=dict(os.environ))
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        tools = (await session.list_tools()).tools
        told = [{tool.name: tool.annotations.read_only_hint for tool in tools}]
        for name, arguments in json.loads(sys.argv[1]):
            answer = await session.call_tool(name, arguments)
            text = answer.content[0].text if answer.content else ""
            told.append([bool(answer.is_error), text, answer.structured_content])
        print(json.dumps(told))

asyncio.run(main())
"""
READING = {"nodes", "slices", "slice", "history", "doctor", "operation", "plan"}


def ask(lab: Lab, *calls: tuple[str, dict[str, Any]]) -> tuple[dict[str, bool], list[list[Any]]]:
    (lab.folder / "assistant.py").write_text(CLIENT)
    told = json.loads(lab.run("python", "assistant.py", json.dumps(calls)).must().out)
    return told[0], told[1:]


@pytest.fixture
def config(lab: Lab) -> Any:
    path = lab.home / "users" / PI / "config.toml"
    before = path.read_text() if path.exists() else ""
    yield path
    path.write_text(before)


@pytest.mark.timeout(300)
def test_it_reads_and_changes_what_is_allowed(lab: Lab, config: Path) -> None:
    node = lab.real[0]
    lab.create("seen", [node]).must()
    tools, (slices, refused, no_tool) = ask(
        lab, ("slices", {}), ("slice", {"name": "none"}), ("deleteslice", {"name": "seen"})
    )
    assert tools == dict.fromkeys(READING, True)
    assert not slices[0]
    assert "seen" in slices[1]
    assert refused[0]
    assert "not-found: no slice none" in refused[1]
    assert no_tool[0]
    assert lab.svm("nodelist", "seen").must().lines == [node]
    before = config.read_text() if config.exists() else ""
    config.write_text(f'{before}mcp = ["renewslice", "createslice", "deleteslice"]\n')
    tools, (made, renewed, deleted) = ask(
        lab,
        ("createslice", {"name": "asked", "nodes": 2, "hours": 1}),
        ("renewslice", {"name": "seen"}),
        ("deleteslice", {"name": "asked"}),
    )
    assert {name for name, reads in tools.items() if not reads} == {"renewslice", "createslice", "deleteslice"}
    assert [answer[0] for answer in (made, renewed, deleted)] == [False] * 3
    assert json.loads(made[1])["outcome"] == "done"
    assert len(json.loads(made[1])["ok"]) == 2
    assert json.loads(renewed[1])["ok"] == [node]
    lab.svm("deleteslice", "seen").must()
    assert lab.svm("slices").out.count("asked") == 0


def test_settings_that_make_no_sense(lab: Lab, config: Path) -> None:
    before = config.read_text() if config.exists() else ""
    for wrong, said in (
        ('mcp = ["reboot"]', "svm: mcp allows 'reboot', which is none of createslice, "),
        ("mcp = true", "mcp must be a list of texts"),
    ):
        config.write_text(f"{before}{wrong}\n")
        ran = lab.svm("mcp").must(USAGE)
        assert said in ran.err
        assert ran.err.count("\n") == 1
