"""A third-party server as a process behind a proxy, and what the test publishes through it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Self

from bridge.clock import monotonic
from bridge.simulator.server.journal import JournalEntry
from tests.servers.programs import Program
from tests.support.network_proxy import Proxy
from tests.support.processes import spawn
from tests.support.waiting import TIMEOUT, wait_until

CHANNELS = ("numbers", "texts")
RATE = 100
"""Events per second of each channel."""
_TICK = 0.02

Kind = Callable[[int], tuple[str | None, str]]
"""Returns the name and data of an event."""

JSON: Sequence[Kind] = (lambda n: ("reading", json.dumps({"n": n}, separators=(",", ":"))),)
LINES: Sequence[Kind] = (
    *JSON,
    lambda n: (None, f"no name, no JSON: {n}"),
    lambda n: ("lines", f"first of {n}\n  an indented one\nid: 7\n: no comment"),
    lambda n: ("json.lines", json.dumps({"n": n, "list": [1, 2.0, 1e30, None]}, indent=2)),
)
ALL: Sequence[Kind] = (
    *LINES,
    lambda n: ("lines", f"first of {n}\n\n  an indented one\ndata\n"),
    lambda n: ("a name with blanks", f' {"😀" * (n % 5)}\u2028 \u0001 "quoted" \\ tab\t'),
    lambda _: ("nothing", ""),
    lambda n: (None, f'{{"n":{n},"cut short'),
)


@dataclass(frozen=True)
class Server:
    """One server, its settings, and what it is able to do."""

    name: str
    program: Callable[[Path], Program]
    kinds: Sequence[Kind] = LINES
    settings: Mapping[str, object] = field(default_factory=dict)
    replays: bool = True
    """False: it replays nothing, so events are lost, and each loss must be announced."""
    sends_head: bool = True
    """False: a reader gets the response head with the first event."""
    takes_lists: bool = True
    """Whether one request publishes several events."""


class RunningServer:
    """The process, a proxy in front of its streams, and a thread that publishes. One thread at a time."""

    def __init__(self, server: Server, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.server = server
        self.proxy = Proxy()
        self.journal: dict[str, list[JournalEntry]] = {channel: [] for channel in CHANNELS}
        self._folder = folder
        self._cleanup = ExitStack()
        self._address = ""
        self._ending = threading.Event()
        self._publisher = threading.Thread(target=self._run, daemon=True)
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        program = self.server.program(self._folder)
        log, output = self._folder / "server.log", self._folder / "server.stdout"
        process = spawn(program.command, log=log, stdout=output)
        self._cleanup.callback(process.wait)
        self._cleanup.callback(process.kill)
        ended = f"{self.server.name} ended, see {self._folder}"

        def address() -> str:
            assert process.poll() is None, ended
            return program.url or _address(output)

        self._address = wait_until(address, 60, f"the address, see {self._folder}").removeprefix("http://")
        wait_until(self._listens, 60, f"{self.server.name}, see {log}")
        self.proxy.upstream = int(self._address.rpartition(":")[2])
        self._cleanup.enter_context(self.proxy)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._cleanup.close()

    def publish_steadily(self) -> None:
        """Start to publish."""
        self._publisher.start()

    def finish(self) -> None:
        """Stop publishing, after one more event for each channel."""
        self._ending.set()
        self._publisher.join(TIMEOUT)
        assert self._failure is None, self._failure
        self._publish(1)

    # --- the publisher's thread

    def _run(self) -> None:
        start = monotonic()
        try:
            for tick in count(1):
                if self._ending.wait(max(0.0, start + tick * _TICK - monotonic())):
                    return
                self._publish(int(_TICK * RATE))
        except Exception as failure:  # noqa: BLE001 - the test's thread reports it
            self._failure = failure

    def _publish(self, events: int) -> None:
        for channel in CHANNELS:
            new = [self._next(channel) for _ in range(events)]
            requests = [new] if self.server.takes_lists else [[each] for each in new]
            connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT)
            for request in requests:
                self._post(connection, f"/channels/{channel}", request)
            connection.close()

    def _next(self, channel: str) -> JournalEntry:
        entries = self.journal[channel]
        number = len(entries) + 1
        name, data = self.server.kinds[number % len(self.server.kinds)](number)
        event_id = str(number) if channel == "numbers" else _rising_id(number)
        entries.append(JournalEntry(channel, number, event_id, name or "message", data.encode()))
        return entries[-1]

    def _post(self, connection: http.client.HTTPConnection, path: str, entries: Sequence[JournalEntry]) -> None:
        if self.server.takes_lists:
            body, headers = (
                json.dumps([_document(each) for each in entries]).encode(),
                {"Content-Type": "application/json"},
            )
        else:
            body, headers = entries[0].data, {"X-EventSource-Event": entries[0].event}
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status < http.HTTPStatus.MULTIPLE_CHOICES, (answer.status, path)

    def _listens(self) -> bool:
        host, _, port = self._address.rpartition(":")
        with suppress(OSError), socket.create_connection((host, int(port)), TIMEOUT):
            return True
        return False


def _document(entry: JournalEntry) -> dict[str, str]:
    named = {} if entry.event == "message" else {"event": entry.event}
    return {"id": entry.id, "data": entry.data.decode(), **named}


def _rising_id(number: int) -> str:
    """Return an id that is no number; sse-channel compares ids as texts."""
    return f"{number:012}-{uuid.uuid4()}"


def _address(output: Path) -> str:
    """Return the first complete line that is an address; empty until there is one."""
    lines: Iterator[str] = iter(output.read_text().splitlines(keepends=True) if output.exists() else [])
    return next((line.strip() for line in lines if line.startswith("http://") and line.endswith("\n")), "")
