"""A socket between a daemon and its broker, which can stop passing anything on without closing a connection."""

import contextlib
import selectors
import socket
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

CHUNK = 65_536


class Relay:
    """Passes bytes both ways between clients of `path` and the unix socket `target`, until it is `silent`."""

    def __init__(self, path: Path, target: str) -> None:
        self.silent = Event()
        self._target = target
        self._ends: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._stop = Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = Thread(target=self._run, name="relay")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._selector.close()
        for end in (self._listener, *self._ends):
            end.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.05):
                if key.fileobj is self._listener:
                    self._welcome()
                else:
                    self._pass_on(key.fileobj, key.data)

    def _welcome(self) -> None:
        client, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX)
        self._ends += [client, server]
        with contextlib.suppress(OSError):
            server.connect(self._target)
            self._selector.register(client, selectors.EVENT_READ, server)
            self._selector.register(server, selectors.EVENT_READ, client)

    def _pass_on(self, source: object, target: socket.socket) -> None:
        assert isinstance(source, socket.socket)
        try:
            part = source.recv(CHUNK)
            if part and not self.silent.is_set():
                target.sendall(part)
        except OSError:
            part = b""
        if not part:
            for end in (source, target):
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(end)
                end.close()
