"""As it was in 2003: a createslice by 16 threads, a new connection for each call, whatever dies is lost.

A program with the task and the answer of `bench/tools/limit.py`.
"""

import json
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

THREADS = 16


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Tickets from the agent, then two calls to each node, one node a thread."""
    context = ssl.create_default_context(cafile=task["ca"])
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(task["certificate"], task["key"])

    def call(method: str, url: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        parts = urlsplit(url)
        connection = HTTPSConnection(str(parts.hostname), parts.port, context=context)
        try:
            sent = {"Content-Type": "application/json", "Connection": "close", **(headers or {})}
            connection.request(method, parts.path, json.dumps(body), sent)
            answer = connection.getresponse()
            found = json.load(answer)
            assert answer.status < 300, found
            return found
        finally:
            connection.close()

    def make(promise: dict[str, Any]) -> None:
        lease = call("POST", f"{promise['api']}/leases", {"ticket": promise["ticket"]})
        sliver = {**task["pair"], "lease": lease["lease"]}
        call("PUT", f"{promise['api']}/slivers/{task['wanted']['slice']}", sliver)

    given = call("POST", f"{task['agent']}/tickets", task["wanted"], task["headers"])
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(make, given["tickets"]))
    return dict(given)


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)
