"""The server's run: a free port on loopback, the link, the browser, until Ctrl-C or the end of the terminal."""

import asyncio
import os
import signal
import socket
import webbrowser
from contextlib import closing

import click
import uvicorn

from svm.output import json_line, say
from svm.web.app import Program, create_app
from svm.web.asking import Asking
from svm.web.door import Door
from trust.errors import Code, Refusal

HOST = "127.0.0.1"
GRACE = 1
"""Seconds that open pages have when it ends."""


def serve(program: Program, asking: Asking, *, port: int, browser: bool) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP. Raises Refusal when svmd does, or the port is taken."""
    with asking.svmd() as svmd:
        svmd.slices()  # what is wrong with the setup is said here, in the terminal
    with _listening(port) as listening, closing(asking):
        door = Door(f"{HOST}:{listening.getsockname()[1]}", program.command)
        config = uvicorn.Config(
            create_app(program, asking, door),
            log_level="error" if asking.flags.debug else "critical",
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE,
            ws="none",
        )
        server = uvicorn.Server(config)
        signal.signal(signal.SIGHUP, server.handle_exit)
        asyncio.run(_run(server, listening, door, as_json=asking.flags.json, browser=browser))


async def _run(server: uvicorn.Server, listening: socket.socket, door: Door, *, as_json: bool, browser: bool) -> None:
    opened = browser and await asyncio.to_thread(_open, door.link)
    if as_json:
        json_line("row", {"link": door.link})
    elif opened:
        say(f"your browser shows {door.origin}/; Ctrl-C ends it")
    else:
        click.echo(door.link)
        say("open this link in a browser of this machine: it works once; Ctrl-C ends it")
    await server.serve([listening])


def _open(link: str) -> bool:
    """Whether a browser has it: one of a desktop, not one that would take over this terminal."""
    if not any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")):
        return False
    try:
        return webbrowser.open(link)
    except webbrowser.Error:
        return False


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()  # Python's own words say the address once more
        raise Refusal(
            Code.BAD_INPUT, f"cannot listen on {HOST}:{port} ({why}); leave --port out for a free one"
        ) from None
