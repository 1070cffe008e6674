"""The routes of the parent of several workers, over loopback."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Collection, Iterator
from dataclasses import replace
from urllib.parse import quote

import pytest
import requests

from bridge.core.snapshot import Counters, ServerSnapshot
from bridge.observe.page import feed
from bridge.observe.page.routes import html
from bridge.workers import views
from bridge.workers.merge import OfWorker
from bridge.workers.queries import Place, Workers
from tests.fakes import page_snapshots
from tests.fakes.http_endpoint import serving
from tests.fakes.page_snapshots import HOSTILE
from tests.fakes.parent_endpoint import parent_of
from tests.observe.page.merging import Messages
from tests.support.waiting import TIMEOUT

FIRST, SECOND = (page_snapshots.of_worker(number) for number in (1, 2))


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "INTERVAL", 0.1)


@pytest.fixture(scope="module")
def ports() -> Iterator[list[int]]:
    with serving(lambda: FIRST) as first, serving(lambda: SECOND) as second:
        yield [first, second]


def test_the_page_of_the_parent_shows_the_sessions_of_all_workers(ports: list[int]) -> None:
    """One verdict, and each session and shard with its worker."""
    with parent_of(lambda: [Place(number, port) for number, port in enumerate(ports, 1)]) as parent:
        assert requests.get(f"http://127.0.0.1:{parent}/", timeout=TIMEOUT).text.startswith("<!DOCTYPE html>")
        with Messages(parent) as messages:
            shown = messages.first(lambda _: True)
    assert shown["verdict"] == {"level": "ok", "text": "Ready: 6 sessions, all checks passed"}
    assert {key: one["worker"] for key, one in shown["sessions"].items()} == {
        f"local/session-{number:04}": 1 + number % 2 for number in range(6)
    }
    assert {one["worker"] for one in shown["shards"].values()} == {1, 2}
    assert shown["replicas"] == {"elsewhere:9": {"shards": 4}}
    assert shown["workers"]["2"] == {"answers": True, "owner": "bridge-2:9", "restarts": 2}
    assert (shown["bridge"]["owner"], shown["servers"]["local"]["streaming"]) == ("host:1", 6)
    assert shown["totals"]["received"] == sum(
        each.counters.received for one in (FIRST, SECOND) for each in one.sessions
    )


def test_a_worker_that_ends_is_on_the_page_and_its_gaps_stay_in_the_last_hour(ports: list[int]) -> None:
    """The page continues; the successor counts from 0."""
    lost = Counters(gaps=1, missing_events=2, dead_letters={"schema": 3})
    gone = replace(SECOND, servers={"local": ServerSnapshot(reachable=True, ended=lost)})
    places = [Place(1, ports[0])]
    with parent_of(lambda: places) as parent, Messages(parent) as messages:
        with serving(lambda: gone) as second:
            places.append(Place(2, second))
            shown = messages.first(lambda view: view["totals"]["gaps"] == 1)
            assert shown["verdict"]["text"].startswith("Ready, but 1 gap in the last hour")
        places[1] = Place(2, None)
        shown = messages.first(lambda view: "worker-2" in view["checks"])
        assert shown["verdict"]["text"] == "Not ready: 1 check failed (worker-2)"
        assert shown["workers"]["2"] == {"restarts": 2}
        assert shown["replicas"].keys() == {"elsewhere:9"}  # the other worker names it until its session times out
        assert {one["worker"] for one in shown["sessions"].values()} == {1}
        again = replace(SECOND, started_at_ms=SECOND.started_at_ms + 1000)
        with serving(lambda: again) as second:
            places[1] = Place(2, second)
            shown = messages.first(lambda view: view["verdict"]["level"] != "failing")
            assert (shown["totals"]["gaps"], shown["hour"]["missing_events"]) == (1, 2)
            assert shown["dead_letters"]["schema"] == {"total": 3, "hour": 3}


def test_a_scraper_gets_the_form_of_metrics_that_it_asks_for(ports: list[int]) -> None:
    with parent_of(lambda: [Place(number, port) for number, port in enumerate(ports, 1)]) as parent:
        for accept in ("application/openmetrics-text; version=1.0.0", "text/plain; version=0.0.4"):
            answer = requests.get(f"http://127.0.0.1:{parent}/metrics", headers={"accept": accept}, timeout=TIMEOUT)
            assert answer.headers["content-type"].startswith(accept)
            assert 'mix_bridge_buffer_bytes{worker="2"}' in answer.text


def test_a_worker_that_hangs_is_on_the_page_as_one_that_does_not_answer(
    ports: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page continues with the others."""
    monkeypatch.setattr(views, "_WAITS", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        parent_of(lambda: [Place(1, ports[0]), Place(2, silent.getsockname()[1])]) as parent,
        Messages(parent) as messages,
    ):
        for _ in range(2):
            shown = messages.first(lambda _: True)
    assert (shown["checks"]["worker-2"]["ok"], len(shown["sessions"])) == (False, 3)


def test_the_wait_for_a_worker_that_hangs_is_shorter_than_the_timeout_of_the_page() -> None:
    """Otherwise the page would report a lost connection."""
    waits = []

    class Noting(Workers):
        def documents(self, _path: str, _codes: Collection[int] = (), seconds: float = 0.0) -> list[OfWorker]:
            waits.append(seconds)
            return []

    async def one_view() -> None:
        await views.of_workers(Noting(list, list), dict, dict)()

    asyncio.run(one_view())
    (stale,) = re.findall(r"STALE_MS = (\d+);", html())
    assert 2 * waits[0] < int(stale) / 1000  # the head, and the body


@pytest.mark.parametrize("session_id", ["plain", "a/b//c", "ü %2F?#", HOSTILE])
def test_a_session_is_asked_of_the_worker_that_runs_it(ports: list[int], session_id: str) -> None:
    """Any id that UTF-8 can hold."""
    one = replace(page_snapshots.session(1), session=session_id)
    with (
        serving(lambda: replace(SECOND, sessions=(one,))) as second,
        parent_of(lambda: [Place(1, ports[0]), Place(2, second), Place(3, None)]) as parent,
    ):
        base = f"http://127.0.0.1:{parent}/api/sessions/local"
        answer = requests.get(f"{base}/{quote(session_id, safe='/')}", timeout=TIMEOUT)
        assert answer.json()["session"] == session_id
        unknown = requests.get(f"{base}/unknown", timeout=TIMEOUT)
        assert (unknown.status_code, unknown.json()["error"]) == (404, "no worker runs this session")


@pytest.mark.parametrize("path", ["/", "/api/stream", "/api/view", "/api/sessions/local/session-0001"])
def test_the_token_protects_all_of_it(path: str) -> None:
    """The parent sends it to its workers."""
    with (
        serving(lambda: FIRST, token="s3cret") as first,
        parent_of(lambda: [Place(1, first)], token="s3cret") as parent,
    ):
        refused = requests.get(f"http://127.0.0.1:{parent}{path}", timeout=TIMEOUT)
        assert (refused.status_code, refused.headers["WWW-Authenticate"][:5]) == (401, "Basic")
        shown = requests.get(f"http://127.0.0.1:{parent}/api/view", auth=("me", "s3cret"), timeout=TIMEOUT).json()
        assert len(shown["sessions"]) == 3
