"""How often a server is asked that sends nothing, refuses, or sends ids that make no sense."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import repeat
from pathlib import Path

from bridge.clock import monotonic
from tests.fakes import bad_responses as bad
from tests.fakes.faulty_feed import FaultyFeed, numbered
from tests.fakes.raw_server import CHUNKED, LAST_CHUNK, UNTIL_CLOSE, Peer, Script, chunk
from tests.support.feed_proof import proven, wait_delivered
from tests.support.process import Bridge
from tests.support.scene import bridged, events, session, settings, started, wait_logged
from tests.support.scripted_mix import block, content, scripted_mix
from tests.support.waiting import let_pass, wait_until

GREETING = b'id: 0\nevent: connected\ndata: {"sessionId":"x"}\n\n'
EMPTY = {
    "nothing": UNTIL_CLOSE,
    "no-chunk": CHUNKED + LAST_CHUNK,
    "comment": UNTIL_CLOSE + b": hello\n\n",
    "greeting": UNTIL_CLOSE + GREETING,
    "half-an-event": UNTIL_CLOSE + b"id: 1\nevent: content\ndata: {}\n",
    "hung-up": b"",
}
"""The answer of each to every request."""
UNKNOWN = UNTIL_CLOSE + b'event: error\ndata: {"error":"session not found"}\n\n'
"""An old server's answer for an unknown session."""
LASTED = 6.0
"""Seconds for which they are asked."""

Ids = Callable[[int], Sequence[str | None]]
"""The ids of the events of the n-th connection."""
ODD: Mapping[str, Ids] = {
    "from-one": lambda _: ["1", "2", "3"],
    "rising": lambda turn: [str(turn)],
    "falling": lambda turn: [str(10**6 - turn * 3 - number) for number in range(3)],
    "jumping": lambda turn: [str(turn * 100 + number * 2) for number in range(10)],
    "a-hole": lambda _: [str(number) for number in (*range(1, 20), *range(30, 50))],
    "all-the-same": lambda _: ["x"] * 3,
    "at-random": lambda _: [f"{random.getrandbits(60):x}" for _ in range(3)],
    "shorter": lambda turn: [str(number + 1) for number in range(1 + turn * 7 % 5)],
    "reset-to-none": lambda _: ["1", ""],
    "none": lambda _: [None],
}
"""Servers whose ids make no sense across connections; each closes after a few events, all of them new."""


def odd(ids: Ids) -> Script:
    """A stream with these ids and an ordinary end, which has a minimum wait after it."""
    turns: list[float] = []

    def script(peer: Peer) -> None:
        turns.append(monotonic())
        blocks = [block(id_, "content", content(f"{len(turns)}-{at}")) for at, id_ in enumerate(ids(len(turns)))]
        peer.send(CHUNKED + b"".join(map(chunk, blocks)) + LAST_CHUNK)

    return script


def test_no_server_is_flooded_whatever_it_answers(kafka: str, namespace: str, tmp_path: Path) -> None:
    """A server that sends no whole event is asked at growing intervals: other answers do not prove that it works.

    Events prove it, but if their ids make no sense there are at most two requests per interval.
    """
    feeds = {name: FaultyFeed(numbered(1, 10), repeat(bad.raw(wire))) for name, wire in EMPTY.items()}
    more: dict[str, object] = {"servers.local.reconnect_min": "50ms", "servers.local.reconnect_max": "1500ms"}
    with scripted_mix() as mix, scripted_mix() as old, scripted_mix() as strange:
        mix.serve(feeds)
        old.streams = {"refused": bad.only(UNKNOWN), "accepted": bad.only(UNKNOWN)}
        strange.streams = {name: odd(ids) for name, ids in ODD.items()}
        more["topics.routes"] = [
            {"match": "*", "topic": f"{namespace}.elsewhere", "server": name} for name in ("old", "lax", "odd")
        ]
        more |= _server("old", old.url, "refused", reconnect_min="50ms")
        more |= _server("lax", old.url, "accepted", reconnect_min="50ms", without_ids="accept")
        more |= _server("odd", strange.url, ",".join(ODD), reconnect_min="500ms", without_ids="accept")
        began = monotonic()
        with bridged(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            wait_until(lambda: all(feed.requests for feed in feeds.values()), 30, "the first requests")
            wait_until(lambda: all(map(strange.ids_of, ODD)), 30, "their first requests")
            wait_until(lambda: old.ids_of("refused") and old.ids_of("accepted"), 30, "their first requests")
            let_pass(LASTED)
            lasted = monotonic() - began
            asked = {name: [each.at - feed.requests[0].at for each in feed.requests] for name, feed in feeds.items()}
            for feed in feeds.values():
                feed.fail(())
            refused, accepted = len(old.ids_of("refused")), len(old.ids_of("accepted"))
            confused = {name: len(strange.ids_of(name)) for name in ODD}
            wait_delivered(bridge, feeds)
            assert "bug" not in bridge.log_text()
    by_second = {name: _by_second(times) for name, times in asked.items()}
    print(f"no event: {by_second}; unknown session: {refused} and {accepted}; odd ids: {confused}")
    for name, counts in by_second.items():
        # Waits are random below a limit that doubles from 50 ms to 1.5 s: 6 at first, then 4 in 3 s on average.
        assert sum(counts) <= 28, (name, counts)
        assert sum(counts[3:]) <= 14, (name, counts)
    assert 1 <= refused <= 14
    assert 1 <= accepted <= 14
    for count in confused.values():  # the shortest wait after an end is three quarters of half a second
        assert 2 <= count <= 4 + 2 * lasted / 0.375, confused
    proven(kafka, namespace, feeds)
    assert {one.key for one in events(kafka, namespace, "elsewhere")} == {f"odd/{name}".encode() for name in ODD}


def _by_second(times: Sequence[float]) -> list[int]:
    return [sum(int(at) == second for at in times) for second in range(int(LASTED))]


def _server(name: str, url: str, sessions: str, **more: object) -> dict[str, object]:
    """The settings of one more server, whose events go to a topic of their own."""
    chosen = {"url": url, "sessions": sessions, "discover": False, "reconnect_max": "60s", **more}
    return {f"servers.{name}.{key}": value for key, value in chosen.items()}


def test_a_refused_token_is_an_error_and_retried_slowly(kafka: str, namespace: str, tmp_path: Path) -> None:
    """401 and 403: an error in the log, ``/readyz`` 503, five seconds until the next try with the file's new token."""
    token = tmp_path / "token"
    token.write_text("old\n")
    feeds = {"401": FaultyFeed(numbered(1, 20)), "403": FaultyFeed(numbered(1, 20))}
    guarded = {name: _guarded(feed, int(name)) for name, feed in feeds.items()}
    more = {"servers.local.token_file": token, "servers.local.reconnect_max": "60s"}
    with scripted_mix() as mix:
        mix.streams = dict(guarded)
        mix.list(*feeds)
        with started(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            wait_until(lambda: bridge.get("/readyz").status == 503, 10, "a 503 of /readyz", 0.05)
            line = wait_logged(bridge, "unauthorized", "status 40")  # repeats of other sessions are counted in one line
            assert line["session"] in feeds
            assert line["level"] == "error"
            for name in feeds:
                wait_until(partial(_has_error, bridge, name), 5, "its error")
            token.write_text("new\n")
            wait_delivered(bridge, feeds)
            bridge.wait_ready()
            assert bridge.terminate() == 0
            assert "Bearer" not in bridge.log_text()
            assert any(each.get("reason") == "unauthorized" and each.get("repeats") for each in bridge.log_lines())
    proven(kafka, namespace, feeds)
    for name, feed in feeds.items():
        refused, taken = feed.requests
        assert taken.at - refused.at >= 5, name
        assert (refused.headers["authorization"], taken.headers["authorization"]) == (b"Bearer old", b"Bearer new")


def _has_error(bridge: Bridge, name: str) -> bool:
    return f"status {name}" in str(session(bridge, name).get("last_error"))


def _guarded(feed: FaultyFeed, refusal: int) -> Script:
    """The feed, for requests with the new token."""

    def script(peer: Peer) -> None:
        feed.fail([] if peer.headers["authorization"] == b"Bearer new" else [bad.status(refusal)])
        feed(peer)

    return script
