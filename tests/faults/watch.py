"""What is looked at while things break: generations never fall (I4), messages and logs carry no secret (I6), and what
was answered as done is there (`calls`)."""

import base64
import json
import re
import sqlite3
from contextlib import suppress
from datetime import UTC, datetime
from threading import Event, Lock, Thread

import psycopg
import redis

from tests.faults.answers import NodeCalls, Told
from tests.faults.evidence import read_node
from tests.faults.invariants import Breach
from tests.faults.stack import Stack

PAUSE = 1.0
QUEUES = ("interactive", "renewals", "housekeeping")
# Signed documents are JWTs; keys are PEM or OpenSSH blocks.
SECRET = re.compile(rb"PRIVATE KEY|eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}")


class Watch:
    """A thread that samples until `stop`, and looks once more then; what it found wrong is in `breaches`."""

    def __init__(self, stack: Stack) -> None:
        self.breaches: list[str] = []
        self.messages = 0
        self._stack = stack
        self._highest: dict[tuple[str, str, str], int] = {}
        self._told = Told(datetime.now(UTC))
        self._calls = [NodeCalls(address, folder) for _, address, folder in stack.node_folders()]
        self._lock = Lock()
        self._end = Event()
        self._thread = Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join()
        self.look()
        wrong: list[Breach] = self._told.breaches()
        for calls in self._calls:
            wrong += calls.breaches(self._stack.backs[calls.node])
        self.breaches += [f"{breach.where}: {breach.why}" for breach in wrong]

    def look(self) -> None:
        """One sample; what is down just now is looked at the next time."""
        for look in (self._table, self._nodes, self._stores, self._queues):
            with self._lock, suppress(psycopg.Error, redis.RedisError, OSError, sqlite3.Error):
                look()

    def _run(self) -> None:
        while not self._end.wait(PAUSE):
            self.look()

    def _table(self) -> None:
        with self._stack.connect() as database:
            for slice, node, generation in database.execute("SELECT slice::text, node, generation FROM svm.sliver"):
                self._never_falls("table", str(slice), str(node), int(generation))
            self._told.look(database)

    def _nodes(self) -> None:
        for name, address, folder in self._stack.node_folders():
            times = self._stack.put_back[address]
            leases = read_node(folder / "node.db")[0]
            if times == self._stack.put_back[address]:  # it was not put back in between
                for lease in leases:
                    # A node that got an old database begins anew: it cannot know better.
                    self._never_falls(f"{name} ({times})", lease[1], name, lease[3])

    def _stores(self) -> None:
        for calls in self._calls:
            calls.read()

    def _never_falls(self, where: str, slice: str, node: str, generation: int) -> None:
        key = where, slice, node
        if generation < self._highest.get(key, 0):
            self.breaches.append(f"I4: generation of {slice} on {node} fell to {generation} in {where}")
        self._highest[key] = max(generation, self._highest.get(key, 0))

    def _queues(self) -> None:
        """Messages carry the name of a step's kind and step ids; nothing else."""
        broker = self._stack.broker
        waiting = [
            raw if isinstance(raw, bytes) else raw.encode() for queue in QUEUES for raw in broker.lrange(queue, 0, 200)
        ]
        for raw in waiting:
            self.messages += 1
            args, kwargs, _ = json.loads(base64.b64decode(json.loads(raw)["body"]))
            numbers = all(isinstance(id, int) for found in args for id in found)
            if kwargs or not numbers or SECRET.search(raw):
                self.breaches.append(f"I6: a message carries {args} {kwargs}")


def secrets_in_logs(stack: Stack) -> list[str]:
    """I6: the names of logs in which a secret stands."""
    words = [secret.encode() for secret in stack.secrets()]
    found = []
    for log in sorted([*stack.home.logs.glob("*.log"), *stack.home.directory.glob("services/*/*.log")]):
        text = log.read_bytes()
        if SECRET.search(text) or any(word in text for word in words):
            found.append(f"I6: a secret stands in {log.name}")
    return found
