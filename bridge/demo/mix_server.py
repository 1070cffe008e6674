"""A simulated Mix agent server: the published contract with ids, replay and heartbeats, and agents that talk.

``python -m bridge.demo.mix_server --sessions 5 --rate 20`` prints the address it listens on and serves until SIGTERM or
SIGINT. Inside a program: ``MixServer(ServerOptions(port=0)).start()``.

The contract: ``GET /stream?sessionId=``, ``GET|POST /api/sessions``, ``DELETE /api/sessions/{id}``, ``GET /health``.
For tests: see ``bridge.demo.routes``.
"""

from __future__ import annotations

import asyncio
import queue
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self, TypeVar

from bridge.demo.agent_script import ScriptedEvent
from bridge.demo.journal import Journal, JournalEntry
from bridge.demo.roster import Roster
from bridge.demo.routes import Routes
from bridge.demo.server_options import ServerOptions, parse_options

T = TypeVar("T")

# Connections that wait to be accepted: a bridge opens all its streams at once.
_BACKLOG = 4096
# Longest that one call into the event loop may take; a call waits for readers that stand still.
_PATIENCE = 60.0
_GOODBYE = 2.0


class MixServer:
    """The server with its own event loop thread. All methods may be called from any other thread."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None
        self._journal: Journal | None = None
        self._roster: Roster | None = None
        self.url = ""
        """Where it listens, once started."""

    # --- life

    def start(self) -> str:
        """Listen and let the agents begin; the URL. OSError or OverflowError if address or file cannot be had."""
        self._journal = Journal(self._options.journal)
        outcome: queue.SimpleQueue[str | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(outcome.put,), name="mix-server", daemon=True)
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

    def _run(self, tell: Callable[[str | BaseException], None]) -> None:
        try:
            asyncio.run(self._serve(tell))
        except BaseException as failure:  # whatever it is, start() must not wait for ever
            tell(failure)
            if not isinstance(failure, (OSError, OverflowError)):
                raise

    async def _serve(self, tell: Callable[[str | BaseException], None]) -> None:
        assert self._journal is not None  # noqa: S101 - set by start, before this thread
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._roster = Roster(self._options, self._journal)
        routes = Routes(self._options, self._roster)
        listener = await asyncio.start_server(routes.serve, self._options.host, self._options.port, backlog=_BACKLOG)
        self._roster.open()
        port = listener.sockets[0].getsockname()[1]
        tell(f"http://{self._options.host}:{port}")
        await self._stopping.wait()
        listener.close()
        await self._roster.close()
        await routes.close(_GOODBYE)

    # --- what a test or the demo wants to know and to do

    def sessions(self) -> list[str]:
        """The ids of all sessions, oldest first."""
        return self._on_loop(lambda roster: [session.facts.id for session in roster.all()])

    def published(self) -> dict[str, int]:
        """How many events each session has published."""
        return self._on_loop(lambda roster: {session.facts.id: roster.published(session) for session in roster.all()})

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

    def _on_loop(self, work: Callable[[Roster], T]) -> T:
        async def call(roster: Roster) -> T:
            return work(roster)

        return self._await(call)

    def _await(self, work: Callable[[Roster], Coroutine[Any, Any, T]]) -> T:
        assert self._loop is not None, "not started"  # noqa: S101
        assert self._roster is not None, "not started"  # noqa: S101
        return asyncio.run_coroutine_threadsafe(work(self._roster), self._loop).result(_PATIENCE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the first line on stdout is the URL."""
    server = MixServer(parse_options(sys.argv[1:] if arguments is None else arguments))
    asked_to_end: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: asked_to_end.put(received))
    try:
        url = server.start()
    except (OSError, OverflowError) as failure:
        print(f"mix_server: {failure}", file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    print(url, flush=True)  # noqa: T201 - a command's output
    asked_to_end.get()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
