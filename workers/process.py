"""A worker process: what it makes at `worker_init`, before any message is taken, and ends at `worker_shutdown`.

In a pool of threads `worker_process_init` never fires, and there is one process.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from threading import Event

import uvloop

from lifecycle.seal import Seal
from lifecycle.upgrading import wait_for_tables
from lifecycle.writer import Writer
from models.database import engine
from models.outage import database
from plc.client import DirectoryCache
from rpc.aio import Session
from rpc.background import thread
from rpc.credentials import Credentials
from rpc.health import Look, own
from tasks.concurrency_limit import ConcurrencyLimit
from tasks.context import WorkerContext, set_worker_context
from tasks.metrics import HEARD
from tasks.publish import Publisher
from trust.clock import system_clock
from workers.credential_refresh import CredentialRefresh, wait_for_credentials
from workers.presence import Presence
from workers.republisher import Republisher
from workers.settings import Settings
from workers.watchdog import Watchdog

log = logging.getLogger(__name__)

KEEP_ALIVE = 10  # idle seconds of a node's connection, which takes 50 KB: a slice may have thousands of nodes
SPARE_CONNECTIONS = 16  # for the writer, reads of steps and periodic tasks, beside one for each thread's claim


class Process:
    """One worker process's loop, session, writer and publisher."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = Event()
        self._looks: Mapping[str, Look] = {}

    def start(self) -> None:
        """Open everything and put the worker_context in place. Waits for svmd's certificate and its tables as long as
        it takes. Raises Refusal as `lifecycle.upgrading.wait_for_tables`."""
        settings = self._settings
        credentials = wait_for_credentials(settings.state_dir, self._stop)
        if credentials is None:
            raise SystemExit(0)
        self.database = engine(
            settings.database_url.get_secret_value(), connections=settings.threads + SPARE_CONNECTIONS
        )
        if not wait_for_tables(self.database, self._stop):
            raise SystemExit(0)
        self.loop = uvloop.new_event_loop()
        self._loop_thread = thread(self._run_loop, "loop")
        self._loop_thread.start()
        self.session = asyncio.run_coroutine_threadsafe(self._open(credentials), self.loop).result()
        self.credentials = CredentialRefresh(credentials, settings.plc_url, system_clock(), self._renewed)
        self.credentials.start()
        self.publisher = Publisher()
        self.publisher.start()
        self.writer = Writer(self.database, self.publisher.put)
        self.writer.start()
        self.worker_context = self._worker_context()
        set_worker_context(self.worker_context)
        self._watchdog = Watchdog(
            self.database, self.worker_context, settings.served, settings.stuck, publish=self.publisher.put
        )
        self._watchdog.start()
        self._republisher = Republisher(self.worker_context.missed)
        self._republisher.start()
        self._presence = Presence(self.database, self.worker_context)
        self._presence.start()
        HEARD.set_function(lambda: time.monotonic() - self.worker_context.heard)
        self._looks = {"database": database(self.database), **own(credentials, self.credentials.member.store)}

    def looks(self) -> Mapping[str, Look]:
        """For `/healthz`: what a worker needs, once it has begun."""
        return self._looks or {"start": lambda: "it waits for svmd's certificate and tables"}

    def heard(self) -> None:
        """A message came."""
        self.worker_context.heard = time.monotonic()

    def closing(self) -> None:
        """The process was told to stop: nothing new begins in the background, and no step goes on to the next."""
        self._stop.set()
        self.worker_context.closing = True
        self.worker_context.background.close()

    def stop(self) -> None:
        """After the last step has ended: write what is to be written, then close. What backs off is in PostgreSQL."""
        self._watchdog.stop()
        self._republisher.stop()
        self.writer.stop()
        self._presence.stop()
        self.publisher.stop()
        self.credentials.stop()
        asyncio.run_coroutine_threadsafe(self.session.close(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._loop_thread.join()
        self.loop.close()
        self.database.dispose()
        set_worker_context(None)

    def _worker_context(self) -> WorkerContext:
        settings = self._settings
        return WorkerContext(
            identity=self.credentials.member.identity,
            database=self.database,
            loop=self.loop,
            session=self.session,
            store=self.credentials.member.store,
            seal=Seal.from_file(settings.key_file),
            writer=self.writer,
            directory=DirectoryCache(self.credentials.member.plc.directory),
            policy=settings.policy,
            background=ConcurrencyLimit(max(1, settings.threads - settings.reserved)),
        )

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    async def _open(self, credentials: Credentials) -> Session:
        return await Session(credentials, keep_alive=KEEP_ALIVE).__aenter__()

    def _renewed(self) -> None:
        self.loop.call_soon_threadsafe(self.session.reload)
        log.info("the service manager has a new certificate")
