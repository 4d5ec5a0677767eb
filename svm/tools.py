"""What an assistant may do with a user's slices (`svm mcp`): reading always, changing only what the user allows.

Each tool is a method whose signature and docstring are what the assistant is told of it.
"""

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from svm.client import Svmd
from svm.keyfiles import key_lines
from svm.request import Request
from svm.results import node_result, nodes_in_all, refusal_of
from svm.wanted import wanted
from trust.errors import Code, Refusal

READING = ("nodes", "slices", "slice", "history", "doctor", "operation", "plan")
CHANGING = ("createslice", "addkey", "renewslice", "autorenew", "deleteslice", "cancel", "run")
LONGEST = 120
"""Seconds that a tool waits for an operation or a command; then it says how to ask further."""
MOST = 4000
"""Characters of a command's output, of each node."""


class Tools:
    """The tools of one user. Every method raises Refusal."""

    def __init__(self, svmd: Svmd, allowed: Collection[str]) -> None:
        unknown = sorted(set(allowed) - set(CHANGING))
        if unknown:
            raise Refusal(Code.BAD_INPUT, f"mcp allows {unknown[0][:40]!a}, which is none of {', '.join(CHANGING)}")
        self._svmd = svmd
        self._allowed = allowed

    def all(self) -> Iterator[tuple[Callable[..., Any], bool]]:
        """Each tool that there is for this user, and whether it changes anything."""
        for name in (*READING, *(each for each in CHANGING if each in self._allowed)):
            yield getattr(self, name), name in CHANGING

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes that can be had, each with its address, site and free places."""
        return self._svmd.ads(None)

    def slices(self) -> list[dict[str, Any]]:
        """The user's slices: state, nodes by state, and when the first lease ends."""
        return self._svmd.slices()

    def slice(self, name: str) -> dict[str, Any]:
        """One slice in full: each of its nodes, its keys, and the operations under way."""
        return self._svmd.slice(name)

    def history(self, name: str, limit: int = 50) -> list[dict[str, Any]]:
        """The newest events of a slice, oldest first."""
        return self._svmd.history(name, limit)

    def doctor(self) -> dict[str, Any]:
        """What is wrong with the user's slices and with the service."""
        return self._svmd.doctor()

    def operation(self, id: str) -> dict[str, Any]:
        """How an operation stands."""
        return self._svmd.operation(id)

    def plan(self, name: str, nodes: int, hours: float = 24) -> list[dict[str, Any]]:
        """Which nodes createslice would take now; nothing is taken."""
        file = wanted(name, nodes, hours)
        return self._svmd.plan({"slice": name, **file.to_json()})

    def createslice(self, name: str, nodes: int, hours: float = 24) -> dict[str, Any]:
        """Create a slice on so many nodes, with leases of so many hours; complete one that lacks nodes."""
        return self._done(Request("createslice", name, file=wanted(name, nodes, hours)))

    def addkey(self, name: str, key: str) -> dict[str, Any]:
        """Let an SSH public key, one line, log in to a slice."""
        if "\n" in key or " " not in key:
            raise Refusal(Code.BAD_INPUT, "key is no SSH public key; give its one line, no file")
        return self._done(Request("addkey", name, keys=key_lines([key])))

    def renewslice(self, name: str) -> dict[str, Any]:
        """Renew the leases of a slice: each begins now again."""
        return self._done(Request("renewslice", name))

    def autorenew(self, name: str, on: bool) -> dict[str, Any]:
        """Have the leases of a slice renewed by themselves, or not."""
        heal = bool(on and self._svmd.slice(name)["heal"])
        return self._done(Request("autorenew", name, autorenew=on, standing_heal=heal))

    def deleteslice(self, name: str) -> dict[str, Any]:
        """Delete a slice with all that is in it. This cannot be undone."""
        return self._done(Request("deleteslice", name))

    def cancel(self, operation: str) -> dict[str, Any]:
        """Cancel an operation: steps under way are completed, no others begin."""
        return self._svmd.cancel(operation)

    def run(self, name: str, command: str) -> list[dict[str, Any]]:
        """Run a shell command on all nodes of a slice, with the SSH keys that the user has at hand."""
        from svm.everywhere import Everywhere
        from svm.flags import CONNECT_TIMEOUT, PARALLELISM
        from svm.openssh import require, ssh_command, unattended
        from svm.sshconfig import hosts, write

        found = hosts(self._svmd.slice(name))
        require("ssh")
        config = write(self._svmd.home.directory, name, found)
        argv = [*ssh_command(config), *unattended(CONNECT_TIMEOUT), "--"]
        nodes = [host.node for host in found]
        running = Everywhere(lambda node: [*argv, node, command], nodes, PARALLELISM, merged=True, timeout=LONGEST)
        return [
            {"node": ran.node, "status": ran.status, "output": ran.stdout[-MOST:].decode("utf-8", "replace")}
            for ran in running
        ]

    def _done(self, request: Request) -> dict[str, Any]:
        """Ask for it, and how it ended; how to ask further where that takes long."""
        id = self._svmd.start(request).operation
        told: dict[str, Any] = {"operation": id, "outcome": None, "nodes": 0, "ok": [], "failed": []}
        try:
            for event in self._svmd.events(id, time.monotonic() + LONGEST):
                told["nodes"] = nodes_in_all(event) or told["nodes"]
                if event["type"] == "node":
                    result = node_result(event)
                    told["ok" if result.ok else "failed"].append(
                        result.node
                        if result.ok
                        else {"node": result.node, "code": result.code, "reason": result.reason}
                    )
                elif event["type"] == "ended":
                    told["outcome"], refusal = (event.get("detail") or {}).get("outcome"), refusal_of(event)
                    if refusal is not None:
                        told["reason"] = refusal.reason
        except Refusal as refusal:
            if refusal.code is not Code.TIMEOUT:
                raise
            told["reason"] = "it goes on; ask for it with the tool operation"
        return told
