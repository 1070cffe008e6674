"""A simulated Mix agent server: the published contract with ids, replay and heartbeats, and agents that talk.

``python -m bridge.simulator.server.mix_server --sessions 5 --rate 20`` prints the address it listens on and serves
until SIGTERM or SIGINT. Inside a program: ``MixServer(ServerOptions(port=0)).start()``.

The contract: ``GET /stream?sessionId=``, ``GET|POST /api/sessions``, ``DELETE /api/sessions/{id}``, ``GET /health``.
``--kind snapshot`` plays the public server of August 2025 instead (``snapshot_server``). For tests, and for
everything that can be made to go wrong: ``bridge.simulator.server.control``, ``bridge.simulator.faults.kinds``.
"""

from __future__ import annotations

import asyncio
import heapq
import queue
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Self, TypeVar

from bridge.clock import monotonic, unix_ms
from bridge.simulator.faults.injector import FaultInjector
from bridge.simulator.faults.kinds import Fault, Poison
from bridge.simulator.faults.registry import FaultRegistry, FaultReport
from bridge.simulator.faults.requests import Order
from bridge.simulator.faults.schedule import Due, chaos, schedule_of
from bridge.simulator.scripts.agent_script import ScriptedEvent
from bridge.simulator.server.connections import Connections
from bridge.simulator.server.contract import ContractSite
from bridge.simulator.server.control import Control
from bridge.simulator.server.journal import Journal, JournalEntry
from bridge.simulator.server.listener import Listener
from bridge.simulator.server.options import ServerKind, ServerOptions, parse_options
from bridge.simulator.server.request_log import RequestLog
from bridge.simulator.server.session_table import Roster
from bridge.simulator.server.snapshot_server import SnapshotSite
from bridge.simulator.server.stream_log import StreamLog

T = TypeVar("T")

# Longest that one call into the event loop may take; a call waits for readers that stand still.
_PATIENCE = 60.0
_GOODBYE = 2.0


class MixServer:
    """The server with its own event loop thread. All methods may be called from any other thread.

    ``on_fault`` is called by the server's thread with each fault as it begins and is over: it records and returns.
    """

    def __init__(self, options: ServerOptions, on_fault: Callable[[FaultReport], None] = lambda _: None) -> None:
        self._options = options
        self._on_fault = on_fault
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None
        self._journal: Journal | None = None
        self._roster: Roster | None = None
        self._injector: FaultInjector | None = None
        self._requests = RequestLog(_unix)
        self._streams = StreamLog(monotonic)
        self.url = ""
        """Where it listens, once started."""

    # --- life

    def start(self) -> str:
        """Listen and let the agents begin; the URL. OSError or OverflowError if address or file cannot be had."""
        schedule = _schedule(self._options)
        self._journal = Journal(self._options.journal)
        outcome: queue.SimpleQueue[str | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(outcome.put, schedule), name="mix-server", daemon=True)
        self._thread.start()
        started = outcome.get()
        if isinstance(started, BaseException):
            self.stop()
            raise started
        self.url = started
        return started

    def stop(self) -> None:
        """End agents and streams and close the port; the journal is closed last. Can be called twice."""
        if self._thread is not None and self._thread.is_alive() and self._loop and self._stopping:
            self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread is not None:
            self._thread.join()
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, tell: Callable[[str | BaseException], None], schedule: Iterable[Due]) -> None:
        try:
            asyncio.run(self._serve(tell, schedule))
        except BaseException as failure:  # whatever it is, start() must not wait for ever
            tell(failure)
            if not isinstance(failure, (OSError, OverflowError)):
                raise

    async def _serve(self, tell: Callable[[str | BaseException], None], schedule: Iterable[Due]) -> None:
        assert self._journal is not None  # noqa: S101 - set by start, before this thread
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        book = FaultRegistry(monotonic, _unix, self._on_fault)
        roster = self._roster = Roster(self._options, self._journal, book)
        injector = self._injector = FaultInjector(roster, book)
        site = (SnapshotSite if self._options.kind is ServerKind.SNAPSHOT else ContractSite)(
            self._options, roster, book
        )
        control = Control(roster, injector, self._requests, self._streams)
        connections = Connections(site, control, book, self._requests, self._streams)
        listener = Listener(connections.serve, book)
        port = await listener.open(self._options.host, self._options.port)
        roster.open()
        injector.play(schedule)
        tell(f"http://{self._options.host}:{port}")
        await self._stopping.wait()
        await injector.close()
        await listener.close()
        await roster.close()
        await connections.close(_GOODBYE)

    # --- what a test or the demo wants to know and to do

    def sessions(self) -> list[str]:
        """The ids of all sessions, oldest first."""
        return self._on_loop(lambda roster: [session.facts.id for session in roster.all()])

    def published(self) -> dict[str, int]:
        """How many events each session has published."""
        return self._on_loop(lambda roster: {session.facts.id: session.head for session in roster.all()})

    def journalled(self) -> dict[str, int]:
        """How many events each session has published, deleted sessions too."""
        return self._on_loop(lambda roster: roster.journalled())

    def journal(self, session: str, after: int = 0, limit: int | None = None) -> list[JournalEntry]:
        """What the session has published above sequence ``after``, a deleted one too; works after ``stop`` no more."""
        assert self._roster is not None, "not started"  # noqa: S101
        return self._roster.journal(session, after, limit)

    def create_session(self, **chosen: Any) -> str:  # noqa: ANN401 - see Roster.create
        """A new session (see ``Roster.create`` for what may be chosen); its id."""
        return self._on_loop(lambda roster: roster.create(**chosen).facts.id)

    def delete_session(self, session: str) -> None:
        """Delete a session."""
        self._on_loop(lambda roster: roster.delete(session))

    def burst(self, session: str, count: int) -> None:
        """The session's agent says its next ``count`` events now; returns when they are published."""
        self._await(lambda roster: roster.burst(session, count))

    def publish(self, session: str, events: Sequence[ScriptedEvent]) -> None:
        """Publish exactly these events; returns when they are published."""
        self._await(lambda roster: roster.publish(session, events))

    def pause(self) -> None:
        """All agents fall silent (``burst`` and ``publish`` still work)."""
        self._on_loop(lambda roster: roster.pause())

    def resume(self) -> None:
        """All agents go on."""
        self._on_loop(lambda roster: roster.resume())

    def disconnect(self, session: str) -> int:
        """Cut all streams of a session, without a last chunk; how many there were."""
        return self._on_loop(lambda roster: roster.disconnect(session))

    # --- faults

    def fault(self, fault: Fault, **scope: Any) -> FaultReport:  # noqa: ANN401 - the fields of Order
        """Let it happen; ``session``, ``times``, ``seconds`` and ``streams`` as in ``Order``.

        KeyError for a session that is not there, ValueError for what cannot be.
        """
        return self.order(Order(fault, **scope))

    def order(self, order: Order) -> FaultReport:
        """As ``fault``."""
        return self._wait_for(lambda injector: injector.order(order))

    def poison(self, session: str, kind: str, size: int | None = None) -> None:
        """Publish an event that trips careless readers (see ``bridge.simulator.faults.malformed_events``)."""
        self.order(Order(Poison(kind, size), session=session))

    def clear(self, number: int | None = None) -> int:
        """End one fault that lasts, or all; how many there were."""

        async def cleared(injector: FaultInjector) -> int:
            return injector.clear(number)

        return self._wait_for(cleared)

    def calm(self) -> None:
        """No more faults: what is scheduled is dropped, what lasts is over."""
        self._wait_for(lambda injector: injector.close())

    def faults(self) -> list[FaultReport]:
        """All there is and was, oldest first."""

        async def reports(injector: FaultInjector) -> list[FaultReport]:
            return injector.reports()

        return self._wait_for(reports)

    def lost(self, session: str) -> list[tuple[int, int]]:
        """The sequences that no reader was handed whole and none can get any more, as spans."""
        return self._on_loop(lambda roster: roster.talk(session).lost())

    def requests(self, after: int = 0, path: str | None = None, session: str | None = None) -> list[dict[str, Any]]:
        """Who asked for what, headers included: what is kept above a number."""
        return self._on_loop(lambda _: self._requests.after(after, path, session))

    def _on_loop(self, work: Callable[[Roster], T]) -> T:
        async def call(roster: Roster) -> T:
            return work(roster)

        return self._await(call)

    def _await(self, work: Callable[[Roster], Coroutine[Any, Any, T]]) -> T:
        assert self._roster is not None, "not started"  # noqa: S101
        return self._finish(work(self._roster))

    def _wait_for(self, work: Callable[[FaultInjector], Coroutine[Any, Any, T]]) -> T:
        assert self._injector is not None, "not started"  # noqa: S101
        return self._finish(work(self._injector))

    def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None, "not started"  # noqa: S101
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)


def _unix() -> float:
    return unix_ms() / 1000


def _schedule(options: ServerOptions) -> Iterable[Due]:
    """What the options say, by time; OSError or ValueError if the file cannot be had or is wrong."""
    listed = [] if options.faults is None else schedule_of(options.faults.read_text())
    by_chance = iter(()) if options.chaos is None else chaos(options.chaos)
    return heapq.merge(listed, by_chance, key=lambda due: due.at)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the first line on stdout is the URL."""
    server = MixServer(parse_options(sys.argv[1:] if arguments is None else arguments))
    asked_to_end: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: asked_to_end.put(received))
    try:
        url = server.start()
    except (OSError, OverflowError, ValueError) as failure:
        print(f"mix_server: {failure}", file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    print(url, flush=True)  # noqa: T201 - a command's output
    asked_to_end.get()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
