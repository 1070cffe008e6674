"""The live page for a long time, through a kill of the daemon, and many pages at once."""

from __future__ import annotations

import socket
import statistics
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from bridge.clock import monotonic
from bridge.simulator.server.load_session import LoadScript
from tests.support.browser import Browser
from tests.support.usage import memory, processor_time
from tests.support.waiting import TIMEOUT, let_pass, wait_until
from tests.torture.run import Figures, Load, Place, Run

PAGES = 16
WARM_UP = 60.0
"""Seconds until the lines of all sessions are full and the browser has compiled the page."""
SESSIONS = 20
EVENT_BYTES = 500
PER_WRITE = 20


class Sample(NamedTuple):
    """What the page and the daemon hold at one moment."""

    heap: int
    """Bytes of JavaScript objects after a collection."""
    nodes: int
    """Nodes of the document, also those that scripts still hold."""
    rss: int
    """Bytes of the daemon."""

    def text(self) -> str:
        """For the remark."""
        return f"{self.heap / 2**20:.1f} MiB of objects, {self.nodes} nodes, daemon {self.rss / 2**20:.0f} MiB"


class Round(NamedTuple):
    """What the daemon did in one round."""

    rate: float
    """Events per second that Kafka acknowledged."""
    cost: float
    """Microseconds of processor time per event."""


def watched_for_long(place: Place, seconds: float) -> Figures:
    """Watch a bridge under a constant load, then kill it with -9 and start it again.

    AssertionError if the page or the daemon grows, or if the page reports the end or the return too late.
    """
    with Run(place, Load(rate=20.0), {"http.port": _free_port()}) as run, Browser() as browser:
        run.bridge.start()
        run.wait_flow()
        browser.driver.get(run.bridge.url + "/")
        browser.wait_text("#verdict", "Ready")
        let_pass(min(WARM_UP, seconds / 4))
        first = _sample(browser, run)
        let_pass(seconds)
        last = _sample(browser, run)
        assert last.heap < 1.2 * first.heap + 2**20, (first, last)
        assert last.nodes <= 1.05 * first.nodes + 50, (first, last)
        assert last.rss < 1.1 * first.rss + 8 * 2**20, (first, last)
        run.bridge.kill()
        killed_at = monotonic()
        browser.wait_text("#lost", "No connection to the bridge")
        noticed = monotonic() - killed_at
        assert noticed < 5.0
        run.bridge.start()
        listening_at = monotonic()
        wait_until(lambda: browser.texts("#lost") == [""], what="the connection")
        found = monotonic() - listening_at
        assert [each for each in browser.problems() if "net::ERR" not in each] == []
        run.finish()
        remark = (
            f"{seconds:g} s: {first.text()} at the start; {last.text()} at the end; `kill -9` is on the page after"
            f" {noticed:.1f} s, the return {found:.1f} s after the daemon listens"
        )
        return run.prove("live page open in a browser, then `kill -9`", 1, remark=remark)


def many_pages(place: Place, events: int, seconds: float = 1.0) -> Figures:
    """Let a bridge read so many events of each session as fast as it can, with and without open pages in turn.

    AssertionError if it publishes measurably less with them: rounds of one kind differ by more than 5 % as well.
    """
    script = LoadScript(1, EVENT_BYTES, events, PER_WRITE)
    pushing = ("--load", "--event-bytes", EVENT_BYTES, "--events", events, "--per-write", PER_WRITE)
    rounds: dict[int, list[Round]] = {0: [], PAGES: []}
    with Run(place, Load(SESSIONS, rate=0, more=pushing), {"log.level": "warning"}, seed=1) as run:
        run.bridge.start()
        run.wait_flow(SESSIONS * 100)
        while run.acknowledged() < 0.85 * SESSIONS * events:
            pages = 0 if len(rounds[0]) <= len(rounds[PAGES]) else PAGES
            with _open_pages(run.bridge.url, pages):
                let_pass(seconds / 5)
                rounds[pages].append(_measure(run, seconds))
        run.finish()
        print(rounds)
        without, watched = (_median(rounds[pages]) for pages in (0, PAGES))
        remark = (
            f"median of {len(rounds[PAGES])} rounds each: {without.rate:,.0f} events/s and {without.cost:.0f} us of"
            f" processor time per event without a page, {watched.rate:,.0f} events/s and {watched.cost:.0f} us with"
            f" {PAGES}"
        )
        figures = run.prove(f"{PAGES} live pages open at full load", len(rounds[PAGES]), remark=remark, script=script)
    assert watched.rate > 0.95 * without.rate, rounds
    return figures


def _median(rounds: list[Round]) -> Round:
    return Round(statistics.median(each.rate for each in rounds), statistics.median(each.cost for each in rounds))


def _measure(run: Run, seconds: float) -> Round:
    before, busy, started = run.acknowledged(), processor_time(run.bridge.pid), monotonic()
    let_pass(seconds)
    events = run.acknowledged() - before
    return Round(events / (monotonic() - started), (processor_time(run.bridge.pid) - busy) / max(1, events) * 1e6)


def _sample(browser: Browser, run: Run) -> Sample:
    browser.driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    heap = browser.driver.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"]
    nodes = browser.driver.execute_cdp_cmd("Memory.getDOMCounters", {})["nodes"]
    return Sample(int(heap), int(nodes), memory(run.bridge.pid))


@contextmanager
def _open_pages(url: str, pages: int) -> Iterator[None]:
    """Read so many streams of the live page meanwhile."""
    with ExitStack() as stack:
        opened = [stack.enter_context(_stream(url)) for _ in range(pages)]
        readers = [threading.Thread(target=_discard, args=(each,), daemon=True) for each in opened]
        for each in readers:
            each.start()
        yield
        for connection in opened:
            connection.shutdown(socket.SHUT_RDWR)
        for reader in readers:
            reader.join(TIMEOUT)


def _stream(url: str) -> socket.socket:
    address = urlsplit(url)
    opened = socket.create_connection((address.hostname or "", address.port or 0), TIMEOUT)
    opened.sendall(b"GET /api/stream HTTP/1.1\r\nHost: torture\r\n\r\n")
    assert b" 200 OK" in opened.recv(100)
    return opened


def _discard(stream: socket.socket) -> None:
    while stream.recv(65536):
        pass


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        return int(chosen.getsockname()[1])
