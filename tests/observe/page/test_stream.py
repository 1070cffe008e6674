"""``/``, ``/api/stream`` and ``/api/sessions``, over loopback."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from dataclasses import replace
from urllib.parse import quote

import pytest
import requests

from bridge import clock
from bridge.core.snapshot import BridgeSnapshot
from bridge.observe import connections
from bridge.observe.api import HttpEndpoint
from bridge.observe.page import feed, routes
from bridge.observe.page.view import of_snapshot
from tests.fakes import page_snapshots
from tests.fakes.http_endpoint import listening, serving
from tests.fakes.raw_client import RawStream
from tests.observe.page.merging import views
from tests.support.waiting import TIMEOUT, wait_until


class Changing:
    """A snapshot that a test changes."""

    def __init__(self, snapshot: BridgeSnapshot) -> None:
        self.snapshot = snapshot
        self.taken = 0

    def __call__(self) -> BridgeSnapshot:
        self.taken += 1
        return self.snapshot


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "INTERVAL", 0.1)
    monkeypatch.setattr("bridge.observe.api.SNAPSHOT_LIFETIME", 0.0)


def stream(port: int, **headers: str) -> RawStream:
    opened = RawStream(f"http://127.0.0.1:{port}", "/api/stream", **headers)
    assert "200 OK" in opened.head()
    return opened


def url(port: int, path: str) -> str:
    return f"http://127.0.0.1:{port}{path}"


def test_a_stream_begins_with_the_whole_view_and_continues_with_changes() -> None:
    """Each page ends with the same view."""
    source = Changing(page_snapshots.healthy(3))
    with serving(source) as port, stream(port) as first, stream(port) as second:
        of_first, of_second = views(first), views(second)
        assert next(of_first)[0] == next(of_second)[0] == "status"
        source.snapshot = page_snapshots.troubled()
        for messages in (of_first, of_second):
            event, shown = next(each for each in messages if len(each[1]["sessions"]) == 19)
            assert event == "changes"
            assert shown["verdict"]["level"] == "failing"


@pytest.mark.parametrize(
    ("elapsed", "cost", "expected"),
    [
        (0.01, 0.01, 0.99),
        (0.1, 0.1, 0.9),
        (0.2, 0.2, 1.8),
        (0.9, 0.01, 0.1),
        (1.5, 0.01, 0.0),
        (0.5, 0.5, 2.5),
        (9.0, 0.5, 0.0),
    ],
)
def test_views_come_each_second_unless_they_cost_a_tenth_of_a_core(
    elapsed: float, cost: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And at least every 3 s, because the page reports a lost connection after 4 s."""
    monkeypatch.setattr(feed, "INTERVAL", 1.0)
    assert feed.pause(elapsed, cost) == pytest.approx(expected)


def test_views_are_taken_only_while_a_page_is_open() -> None:
    """A daemon that nobody watches does nothing for the page."""
    source = Changing(page_snapshots.healthy(3))
    with serving(source) as port:
        assert source.taken == 0
        with stream(port) as opened:
            opened.events(3)
        wait_until(lambda: requests.get(url(port, "/livez"), timeout=TIMEOUT).ok, what="an answer")
        taken = wait_until(lambda: _unchanged(source), what="no more views", interval=0.5)
        assert taken


def _unchanged(source: Changing) -> bool:
    before, source.taken = source.taken, 0
    return before == 0


def test_a_stream_outlives_the_lifetime_of_other_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves all other connections their places."""
    monkeypatch.setattr(connections, "CONNECTION_LIFETIME", 0.5)
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 1)
    with serving(Changing(page_snapshots.healthy(3))) as port, stream(port) as opened:
        until = clock.monotonic() + 1.5
        while clock.monotonic() < until:
            opened.events(1)
            assert requests.get(url(port, "/livez"), timeout=TIMEOUT).ok


def test_a_page_that_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise its connection would hold memory for ever. The others get their views meanwhile."""
    monkeypatch.setattr(connections, "CONNECTION_LIFETIME", 0.5)
    one = page_snapshots.session(1)
    large = tuple(replace(one, session=f"{number:>01000}") for number in range(6000))
    endpoint = HttpEndpoint("127.0.0.1", 0, None, Changing(replace(page_snapshots.EMPTY, sessions=large)))
    with listening(endpoint) as port, stream(port) as slow:
        assert endpoint._server is not None
        held = endpoint._server.server_state.connections
        wait_until(lambda: not held, what="the cut")
        assert slow.rest().ended in {"rst", "fin"}


def test_a_page_that_missed_changes_gets_the_whole_view() -> None:
    """Nothing is queued for it: memory does not grow with slow pages."""
    source = Changing(page_snapshots.healthy(1))

    async def both() -> list[bytes]:
        shared = feed.Feed(of_snapshot(source))
        async with shared.watched():
            running = asyncio.create_task(shared.run())
            slow, fast = shared.messages(), shared.messages()
            seen = [await anext(slow)]
            for count in (10, 20):
                source.snapshot = page_snapshots.healthy(count)
                async for message in fast:
                    if f"session-{count - 1:04}".encode() in message:
                        break
            seen.append(await anext(slow))
            shared.close()
            await running
            return seen

    first, second = asyncio.run(both())
    assert (first.count(b'"state"'), second.count(b'"state"')) == (1, 20)
    assert first.startswith(b"event: status\n")
    assert second.startswith(b"event: status\n")


def test_one_page_too_many_is_refused_until_one_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer page must not close an older one, which would come back at once."""
    monkeypatch.setattr(routes, "MAX_STREAMS", 2)
    with serving(Changing(page_snapshots.healthy(3))) as port, stream(port) as kept:
        with stream(port):
            refused = requests.get(url(port, "/api/stream"), timeout=TIMEOUT)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
            assert "2 pages are open" in refused.json()["error"]
            assert requests.head(url(port, "/api/stream"), timeout=TIMEOUT).status_code == 503
        wait_until(lambda: requests.head(url(port, "/api/stream"), timeout=TIMEOUT).ok, what="a free place")
        kept.events(2)


def test_a_stop_ends_open_pages_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """Without an error in the log."""
    endpoint = HttpEndpoint("127.0.0.1", 0, None, Changing(page_snapshots.healthy(3)))
    with ExitStack() as stack, caplog.at_level(logging.INFO):
        port = endpoint.start()
        pages = [stack.enter_context(stream(port)) for _ in range(3)]
        endpoint.stop()
        assert endpoint.join(clock.monotonic() + TIMEOUT)
        assert [page.rest().chunks()[-1] for page in pages] == [b"", b"", b""]  # complete
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_a_bug_in_a_view_ends_neither_the_stream_nor_the_endpoint() -> None:
    """The page reports that nothing comes, and continues when it comes again."""
    source = Changing(page_snapshots.healthy(3))
    with serving(source) as port, stream(port) as opened:
        messages = views(opened)
        next(messages)
        well, source.snapshot = source.snapshot, None  # type: ignore[assignment]
        taken = source.taken
        wait_until(lambda: source.taken > taken + 2, what="views that fail")
        source.snapshot = replace(well, sessions=well.sessions[:1])
        next(each for each in messages if len(each[1]["sessions"]) == 1)


@pytest.mark.parametrize("path", ["/", "/api/stream", "/api/view", "/api/sessions/local/session-0001"])
def test_the_token_protects_the_page(path: str) -> None:
    """A browser is asked for it."""
    with serving(Changing(page_snapshots.healthy(3)), token="s3cret") as port:
        refused = requests.get(url(port, path), timeout=TIMEOUT)
        assert (refused.status_code, refused.headers["WWW-Authenticate"][:5]) == (401, "Basic")
        answer = requests.get(url(port, path), auth=("anyone", "s3cret"), timeout=TIMEOUT, stream=True)
        assert answer.status_code == 200
        answer.close()


def test_a_stream_ends_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was replaced opens nothing, and keeps nothing open."""
    monkeypatch.setattr("bridge.observe.tokens.OVERLAP", 0.0)
    endpoint = HttpEndpoint("127.0.0.1", 0, "former", Changing(page_snapshots.healthy(3)))
    port = endpoint.start()
    with stream(port, Authorization="Bearer former") as opened:
        opened.events(2)
        endpoint.tokens.replace("present")
        assert opened.rest().chunks()[-1] == b""
    with stream(port, Authorization="Bearer present") as opened:
        opened.events(2)
    endpoint.stop()
    assert endpoint.join(clock.monotonic() + TIMEOUT)


def test_the_page_comes_with_its_policy() -> None:
    """And is never kept by a cache: an upgraded daemon has another one."""
    with serving(Changing(page_snapshots.healthy(3))) as port:
        answer = requests.get(url(port, "/"), timeout=TIMEOUT)
    assert answer.text.startswith("<!DOCTYPE html>")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'sha256-")
    assert (answer.headers["Cache-Control"], answer.headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


@pytest.mark.parametrize("session_id", ["plain", "a/b//c", "ü %2F?#", "<img onerror>\u202e"])
def test_one_session_has_a_path_of_its_own(session_id: str) -> None:
    """Any id that UTF-8 can hold, with slashes too."""
    one = replace(page_snapshots.session(1), session=session_id)
    path = quote(session_id, safe="/")
    with serving(Changing(replace(page_snapshots.EMPTY, sessions=(one,)))) as port:
        answer = requests.get(url(port, f"/api/sessions/local/{path}"), timeout=TIMEOUT)
        assert answer.json()["session"] == session_id
        assert answer.json()["lifecycle"][0]["type"] == "attached"
        unknown = requests.get(url(port, f"/api/sessions/far/{path}"), timeout=TIMEOUT)
        assert (unknown.status_code, "no such session" in unknown.json()["error"]) == (404, True)
