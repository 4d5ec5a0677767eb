"""The limit: a createslice by bare asyncio and aiohttp on kept-alive connections, without queue or database.

A program: its task comes as JSON on stdin, what it was given goes to stdout (`bench/tools/contenders.py`). Whatever
dies, its work is lost; a node that fails ends all of it.
"""

import asyncio
import json
import ssl
import sys
from typing import Any

from aiohttp import ClientSession, TCPConnector


async def run(task: dict[str, Any]) -> dict[str, Any]:
    """Tickets from the agent, then two calls to each node, `window` nodes at once."""
    context = ssl.create_default_context(cafile=task["ca"])
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(task["certificate"], task["key"])
    window = asyncio.Semaphore(task["window"])
    async with ClientSession(connector=TCPConnector(ssl=context, limit=0)) as session:

        async def call(method: str, url: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
            async with session.request(method, url, json=body, headers=headers) as answer:
                found = await answer.json()
                assert answer.status < 300, found
                return found

        async def make(promise: dict[str, Any]) -> None:
            async with window:
                lease = await call("POST", f"{promise['api']}/leases", {"ticket": promise["ticket"]})
                sliver = {**task["pair"], "lease": lease["lease"]}
                await call("PUT", f"{promise['api']}/slivers/{task['wanted']['slice']}", sliver)

        given = await call("POST", f"{task['agent']}/tickets", task["wanted"], task["headers"])
        await asyncio.gather(*(make(promise) for promise in given["tickets"]))
    return dict(given)


if __name__ == "__main__":
    json.dump(asyncio.run(run(json.load(sys.stdin))), sys.stdout)
