"""The socket through which `dslice fault` reaches a process of simulated nodes: a JSON line each way."""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from trust.errors import Code, Refusal

ANSWER_SECONDS = 30
MAX_LINE = 4096

Apply = Callable[[str, str], Awaitable[str]]


def set_fault(socket_path: str | Path, node: str, fault: str) -> str:
    """Have a node (its name, its address, or `all`) behave so from now on; a line that says what was done.

    Raises:
        Refusal: NOT_FOUND for a node that is not in that process, BAD_INPUT for an unknown fault, UNREACHABLE when no
            such process runs.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(ANSWER_SECONDS)
        try:
            peer.connect(str(socket_path))
            peer.sendall(json.dumps({"node": node, "fault": fault}).encode() + b"\n")
            line = peer.makefile("rb").readline(MAX_LINE)
            answer = json.loads(line)
        except (OSError, ValueError) as error:
            raise Refusal(Code.UNREACHABLE, f"no simulated nodes answer at {socket_path}; start the testbed") from error
    if "error" in answer:
        raise Refusal(Code(answer["code"]), str(answer["error"]))
    return str(answer["done"])


async def serve_control(socket_path: str, apply: Apply) -> asyncio.Server:
    """Listen at `socket_path` (replaced when it is there; mode 0600) and hand (node, fault) to `apply`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            writer.write(json.dumps(await _answer(reader, apply)).encode() + b"\n")
            await writer.drain()
        writer.close()

    path = Path(socket_path)
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(answer, path, limit=MAX_LINE)
    finally:
        os.umask(before)


async def _answer(reader: asyncio.StreamReader, apply: Apply) -> dict[str, str]:
    try:
        asked = json.loads(await reader.readline())
        return {"done": await apply(str(asked["node"]), str(asked["fault"]))}
    except Refusal as refusal:
        return {"error": refusal.reason, "code": str(refusal.code)}
    except (ValueError, KeyError, TypeError):
        return {"error": "say node and fault as one JSON line", "code": str(Code.BAD_INPUT)}
