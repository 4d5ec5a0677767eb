"""mcp: one's slices for an assistant, by the Model Context Protocol."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from svm.flags import flags
from svm.session import connect
from trust.errors import Code, Refusal

INSTRUCTIONS = (
    "Slices are sets of small virtual machines, one on each of several nodes, under leases that end by themselves. "
    "Tools that change something are there only where the user allows them; ask before you delete anything."
)

DESTRUCTIVE = ("deleteslice", "run")


@click.command()
@flags
def mcp() -> None:
    """Serve your slices to an assistant (MCP, on stdin and stdout).

    It may read. What it may change stands in config.toml of your key directory: mcp = ["renewslice", "run"].
    """
    try:
        from mcp.server import MCPServer
        from mcp.types import ToolAnnotations
    except ImportError:
        raise Refusal(Code.NOT_FOUND, "the package mcp is not installed; pip install 'dslice[mcp]'") from None
    from svm.home import CONFIG
    from svm.tools import Tools

    svmd = connect()
    server = MCPServer("dslice", instructions=INSTRUCTIONS, log_level="WARNING")
    for tool, changes in Tools(svmd, _allowed(svmd.home.directory / CONFIG)).all():
        kind = ToolAnnotations(read_only_hint=not changes, destructive_hint=tool.__name__ in DESTRUCTIVE)
        server.tool(annotations=kind)(_told(tool))
    server.run("stdio")


def _told(tool: Callable[..., Any]) -> Callable[..., Any]:
    """A refusal is an answer; of any other error the assistant hears that there was one."""
    from mcp.server.mcpserver.exceptions import ToolError

    @wraps(tool)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return tool(*args, **kwargs)
        except Refusal as refusal:
            raise ToolError(f"{refusal.code}: {refusal.reason}") from refusal

    return call


def _allowed(path: Path) -> list[str]:
    """`mcp` in the settings. Raises Refusal(BAD_INPUT)."""
    import tomllib

    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")).get("mcp", [])
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise Refusal(Code.BAD_INPUT, f"cannot read {path}: {error}") from error
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise Refusal(Code.BAD_INPUT, f'{path}: mcp must be a list of texts, as mcp = ["run"]')
    return found
