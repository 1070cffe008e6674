"""A simulated Mix agent server: the published contract with ids, replay, heartbeats and scripted agents.

Inside a program: ``MixServer(ServerOptions(port=0)).start()``. As a process: ``python -m bridge.simulator``.

The contract is in ``contract_api``; ``--kind snapshot`` is the public server of August 2025 (``snapshot_api``). Tests
control the server with ``control`` and inject the faults of ``bridge.simulator.faults.kinds``.
"""

from __future__ import annotations

import asyncio
import heapq
import queue
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Self, TypeVar

from bridge.simulator.faults.injector import FaultInjector
from bridge.simulator.faults.kinds import Fault, Refuse
from bridge.simulator.faults.registry import FaultRecord, FaultRegistry
from bridge.simulator.faults.schedule import ScheduledFault, parse_schedule
from bridge.simulator.server.body_writer import reset
from bridge.simulator.server.connections import Connections
from bridge.simulator.server.contract_api import ContractApi
from bridge.simulator.server.control import Control, RequestLog
from bridge.simulator.server.journal import Journal, JournalEntry
from bridge.simulator.server.options import ServerOptions
from bridge.simulator.server.session_table import SessionTable
from bridge.simulator.server.snapshot_api import SnapshotApi

T = TypeVar("T")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

# Connections that wait to be accepted: a client may open thousands of streams at once.
_BACKLOG = 4096

# Longest time that one call into the event loop may take: a call waits for stalled readers.
_CALL_TIMEOUT = 60.0
_CLOSE_TIMEOUT = 2.0


class MixServer:
    """The server on an event loop thread of its own. Any other thread may call all methods after ``start``.

    The server's thread calls ``on_fault`` when a fault begins, is spent and ends; the callback must not block.
    """

    def __init__(self, options: ServerOptions, on_fault: Callable[[FaultRecord[Fault]], None] = lambda _: None) -> None:
        self._options = options
        self._registry = FaultRegistry(on_fault)
        self._log = RequestLog()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event
        self._journal: Journal
        self._sessions: SessionTable
        self._injector: FaultInjector

    def start(self) -> str:
        """Listen, start the agents and return the URL. OSError or OverflowError if the address or file cannot be used.

        ValueError for a schedule with a mistake.
        """
        schedule = _schedule(self._options)
        self._journal = Journal(self._options.journal)
        self._sessions = SessionTable(self._options, self._journal, self._registry)
        self._injector = FaultInjector(self._sessions, self._registry)
        started: queue.SimpleQueue[str | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(started.put, schedule), name="mix-server", daemon=True)
        self._thread.start()
        outcome = started.get()
        if isinstance(outcome, BaseException):
            self.stop()
            raise outcome
        self.url = outcome
        return outcome

    def stop(self) -> None:
        """End agents and streams, close the port, and last the journal. Can be called twice."""
        if self._thread is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._journal.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, report: Callable[[str | BaseException], None], schedule: Iterable[ScheduledFault]) -> None:
        try:
            asyncio.run(self._serve(report, schedule))
        except BaseException as failure:  # start() must not wait for ever
            report(failure)
            if not isinstance(failure, (OSError, OverflowError)):
                raise

    async def _serve(self, report: Callable[[str | BaseException], None], schedule: Iterable[ScheduledFault]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        api = SnapshotApi if self._options.kind == "snapshot" else ContractApi
        control = Control(self._sessions, self._registry, self._injector, self._log)
        public = api(self._options, self._sessions, self._registry)
        connections = Connections(public, control, self._registry, self._log)
        listener = Listener(connections.serve, self._registry)
        port = await listener.open(self._options.host, self._options.port)
        self._sessions.open()
        self._injector.play(schedule)
        report(f"http://{self._options.host}:{port}")
        await self._stopping.wait()
        await self._injector.close()
        await listener.close()
        await self._sessions.close()
        await connections.close(_CLOSE_TIMEOUT)

    def sessions(self) -> list[str]:
        return self._call(lambda: [session.info.id for session in self._sessions.all()])

    def published(self) -> dict[str, int]:
        return self._call(lambda: {session.info.id: session.head for session in self._sessions.all()})

    def journalled(self) -> dict[str, int]:
        """Return how many events each session has published, deleted sessions too; none of a load test."""
        return self._call(self._journal.counts)

    def journal(self, session: str, after: int = 0, limit: int | None = None) -> list[JournalEntry]:
        """Return a session's published events above sequence ``after``, deleted sessions too. Not after ``stop``."""
        return self._sessions.journal(session, after, limit)

    def create_session(self, **chosen: Any) -> str:  # noqa: ANN401 - the parameters of SessionTable.create
        """Create a session with the parameters of ``SessionTable.create``, and return its id."""
        return self._call(lambda: self._sessions.create(**chosen).info.id)

    def delete_session(self, session: str) -> None:
        self._call(lambda: self._sessions.delete(session))

    def burst(self, session: str, count: int) -> None:
        """Publish the agent's next ``count`` events now; return when they are published."""
        self._await(self._sessions.burst(session, count))

    def pause(self) -> None:
        self._call(self._sessions.pause)

    def resume(self) -> None:
        self._call(self._sessions.resume)

    def inject(self, fault: Fault) -> FaultRecord[Fault]:
        """Inject a fault. UnknownSession (a KeyError) for an unknown session, ValueError if it is not possible."""
        return self._await(self._injector.inject(fault))

    def end_faults(self) -> None:
        self._await(self._injector.close())

    def _call(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return self._await(call())

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_TIMEOUT)


def _schedule(options: ServerOptions) -> Iterable[ScheduledFault]:
    """Return the faults of both options by time. OSError or ValueError for a file that cannot be used."""
    listed = [] if options.faults is None else parse_schedule(options.faults.read_text())
    random_faults = iter(()) if options.chaos is None else options.chaos.faults()
    return heapq.merge(listed, random_faults, key=lambda scheduled: scheduled.at)


class Listener:
    """Listens on one address. While it refuses connections it stays bound, so that no other process gets the port."""

    def __init__(self, serve: Serve, registry: FaultRegistry) -> None:
        self._serve = serve
        self._registry = registry
        self._address: tuple[str, int] = ("", 0)
        self._placeholder: socket.socket | None = None
        self._listener: asyncio.Server | None = None
        self._opening: asyncio.Task[None] | None = None
        self._reopening = asyncio.Lock()
        registry.watch(self._follow_faults)

    async def open(self, host: str, port: int) -> int:
        """Listen and return the port. OSError or OverflowError if the address cannot be used."""
        self._placeholder = _bound(host, port)
        self._address = (host, self._placeholder.getsockname()[1])
        try:
            await self._listen()
        except OSError:
            self._placeholder.close()
            raise
        return self._address[1]

    async def close(self) -> None:
        if self._opening is not None:
            await self._opening
        self._refuse()
        if self._placeholder is not None:
            self._placeholder.close()

    async def _listen(self) -> None:
        listening = _bound(*self._address)
        try:
            self._listener = await asyncio.start_server(self._receive, sock=listening, backlog=_BACKLOG)
        except OSError:
            listening.close()
            raise

    def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _follow_faults(self) -> None:
        if not self._is_closed_by_fault():
            self._opening = asyncio.get_running_loop().create_task(self._open_again())
        else:
            self._refuse()

    async def _open_again(self) -> None:
        async with self._reopening:
            if self._listener is None and not self._is_closed_by_fault():
                await self._listen()

    def _is_closed_by_fault(self) -> bool:
        return self._registry.find(Refuse, None, lambda record: record.fault.how == "close") is not None

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._registry.hit(Refuse, None) is not None:
            reset(writer)
        else:
            await self._serve(reader, writer)


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound and does not listen: this process may bind the address again, others may not."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound
