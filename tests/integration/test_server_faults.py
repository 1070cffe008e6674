"""What a server, or something between, may do to streams: nothing is lost, torn or twice, and nobody is flooded.

Each test compares Kafka with what the server meant, byte for byte, by a consumer that follows the rule.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import repeat
from pathlib import Path

from bridge.clock import monotonic
from tests.component.raw_server import CHUNKED, LAST_CHUNK, UNTIL_CLOSE, Peer, Script, answer, serving
from tests.faults import server_refusals as bad
from tests.faults.server_cuts import FRAMINGS, cut_at_any_byte
from tests.faults.server_feed import Fault, FaultyFeed, numbered, proven
from tests.faults.server_process import KilledServer
from tests.integration.scene import events, session, settings, started, status, wait_logged
from tests.integration.scripted_mix import scripted_mix
from tests.kafka.process import Bridge
from tests.unit.effort import EFFORT
from tests.waiting import wait_until

CUTS = 40 * EFFORT
"""Of each of the twelve streams."""
LAYOUTS = (
    "id: {id}\nevent: content\ndata: {data}\n\n",
    "event: content\ndata: {data}\nid: {id}\n\n",
    ": a comment\r\nid: {id}\r\nevent: content\r\ndata: {data}\r\n\r\n",
    "event:content\rdata:{data}\rid:{id}\r\r",
)
"""An id behind its data is the dangerous one: cut in its digits, it would be another id."""


def wait_delivered(bridge: Bridge, feeds: Mapping[str, FaultyFeed], deadline: float = 60.0) -> None:
    """Return once every session is at the end of its stream and nothing is under way."""

    def sound() -> dict[str, bool]:
        told = {one["session"]: (one["last_event_id"], one["in_flight"]) for one in status(bridge)["sessions"]}
        return {name: told.get(name) == (feed.last_id, 0) for name, feed in feeds.items()}

    try:
        wait_until(lambda: all(sound().values()), deadline, interval=0.05)
    except AssertionError as late:
        raise AssertionError(f"not all at their end: {sound()}, see {bridge.log}: {status(bridge)}") from late


def metric(bridge: Bridge, name: str) -> float:
    """One counter of the server."""
    lines = bridge.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"mix_bridge_{name}{{"))


def test_cuts_at_any_byte_lose_tear_and_repeat_nothing(kafka: str, namespace: str, tmp_path: Path) -> None:
    """FIN and RST, in the head, in size lines, ids and characters, in every framing, packed against our wish too."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    feeds: dict[str, FaultyFeed] = {}
    for framing, framed in FRAMINGS.items():
        for reset in (False, True):
            cuts = [cut_at_any_byte(framed, chance, 3000, reset=reset) for _ in range(CUTS)]
            sent = numbered(1, 10 * CUTS, layout=LAYOUTS[len(feeds) % len(LAYOUTS)])
            feeds[f"{framing}-{'rst' if reset else 'fin'}"] = FaultyFeed(sent, cuts)
    more = {"servers.local.reconnect_min": "1ms", "servers.local.reconnect_max": "5ms"}
    with scripted_mix() as mix:
        mix.streams = dict(feeds)
        mix.list(*feeds)
        with started(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            wait_delivered(bridge, feeds)
            tails = metric(bridge, "discarded_tails_total")
            assert bridge.terminate() == 0
    connections = sum(len(feed.requests) for feed in feeds.values())
    proof = proven(kafka, namespace, feeds)
    print(f"{connections - len(feeds)} cuts, {tails:.0f} torn events, {proof.events} events, {proof.repeats} repeats")
    assert connections >= len(feeds) * CUTS
    assert tails > connections / 10


def interrupted(
    kafka: str,
    namespace: str,
    folder: Path,
    faults: Mapping[str, Sequence[Fault]],
    more: Mapping[str, object],
) -> dict[str, FaultyFeed]:
    """A session for each row: events, then its faults one connection after the other, then events again. Proven."""
    feeds = {name: FaultyFeed(numbered(1, 20)) for name in faults}
    with scripted_mix() as mix:
        mix.streams = dict(feeds)
        mix.list(*feeds)
        with started(folder, settings(kafka, namespace, mix.url, more)) as bridge:
            wait_delivered(bridge, feeds)
            for name, feed in feeds.items():
                feed.fail(faults[name], numbered(21, 20))
            wait_delivered(bridge, feeds)
            wait_until(
                lambda: all(len(feeds[name].requests) == 2 + len(faults[name]) for name in feeds), 20, "requests"
            )
            wait_until(
                lambda: {one["state"] for one in status(bridge)["sessions"]} == {"streaming"}, 10, "sound streams"
            )
            assert bridge.get("/readyz").status == 200
            assert bridge.terminate() == 0
    assert proven(kafka, namespace, feeds).repeats == 0
    return feeds


def test_answers_that_are_no_stream_cost_nothing(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Errors, refusals, pages, redirects, garbage: asked again until there is a stream, and then nothing is missing.

    What asks for a wait gets it, in both forms. Where a redirect leads to another host nobody is asked at all.
    """
    with serving(lambda peer: peer.send(answer(200))) as other:
        away = b"Location: " + other.url.encode()
        login = b"<html>data: log in\n\n</html>"
        rows: dict[str, Sequence[Fault]] = {
            "500": [bad.status(500)] * 4,
            "502-and-504": [bad.status(502), bad.status(504)],
            "204-and-205": [bad.status(204), bad.status(205), bad.status(204), bad.status(204)],
            "404": [bad.status(404)] * 4,
            "400-twice": [bad.status(400)] * 2,
            "json": [bad.page(b"application/json", b'{"error": {}}')] * 3,
            "login-page": [bad.page(b"text/html; charset=utf-8", login)] * 3,
            "no-type": [bad.saying(b"HTTP/1.1 200 OK\r\n\r\nid: 7\nevent: content\ndata: {}\n\n")] * 3,
            "moved-away": [bad.status(code, away) for code in (301, 302, 303, 307, 308)],
            "moved-nowhere": [bad.status(302), bad.status(307, b"Location: http://[")],
            "busy-seconds": [bad.status(503, b"Retry-After: 2")],
            "busy-date": [bad.busy_until(3)],
            "too-many": [bad.status(429, b"Retry-After: 2")],
            "nonsense-wait": [bad.status(503, b"Retry-After: soon"), bad.status(429, b"Retry-After: -5")],
            "garbage": [bad.saying(b"\0\1\2 no http\r\n\r\n"), bad.saying(b""), bad.saying(b"HTTP/1.1 abc\r\n\r\n")],
            "flood": [bad.saying(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000)],
        }
        secrets = {"servers.local.token": "open-sesame", "servers.local.headers.x-api-key": "open-sesame"}
        feeds = interrupted(kafka, namespace, tmp_path, rows, secrets)
        assert other.peers == []
    for name, least in (("busy-seconds", 2.0), ("busy-date", 2.0), ("too-many", 2.0)):
        refused, next_one = feeds[name].requests[1:3]
        assert least <= next_one.at - refused.at < least + 3, name
    for name in ("nonsense-wait", "500"):
        refused, next_one = feeds[name].requests[1:3]
        assert next_one.at - refused.at < 1, name


def test_streams_that_hang_are_given_up_and_quiet_ones_are_not(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Silence, endless drips in the head, the framing and an event; beside them comments alone for ten time-outs."""
    hanging: dict[str, Sequence[Fault]] = {
        "mute": [bad.silent],
        "silent-in-an-event": [bad.silent_in_an_event],
        "dripping-head": [bad.dripping_head()],
        "dripping-size": [bad.dripping_size()],
        "dripping-event": [bad.dripping_event],
        "torn-by-a-proxy": [bad.torn_by_a_proxy] * 3,
        "bad-framing": [bad.bad_framing] * 3,
    }
    quiet = {
        "comments": bad.commented(b":\n\n", 100),
        "comment-lines": bad.commented(b": still here\n", 100),
        "heartbeats": bad.commented(b'event: heartbeat\ndata: {"type":"heartbeat"}\n\n', 100),
    }
    rows = hanging | {name: [fault] for name, fault in quiet.items()}
    feeds = interrupted(kafka, namespace, tmp_path, rows, {"servers.local.read_timeout": "500ms"})
    for name in quiet:
        _, began, next_one = feeds[name].requests
        assert next_one.at - began.at >= 100 * bad.DRIP, name
    for name in hanging:
        _, began, next_one = feeds[name].requests[:3]
        assert next_one.at - began.at < 5, name


def test_a_server_that_takes_connections_and_gives_nothing_is_asked_ever_more_slowly(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """An accepted connection proves nothing, nor do a comment, a greeting or half an event: only events do."""
    greeting = b'event: connected\ndata: {"sessionId":"x"}\n\n'
    empty = {
        "nothing": UNTIL_CLOSE,
        "no-chunk": CHUNKED + LAST_CHUNK,
        "comment": UNTIL_CLOSE + b": hello\n\n",
        "greeting": UNTIL_CLOSE + greeting,
        "half-an-event": UNTIL_CLOSE + b"id: 1\nevent: content\ndata: {}\n",
        "hung-up": b"",
    }
    feeds = {name: FaultyFeed(numbered(1, 10), repeat(bad.saying(wire))) for name, wire in empty.items()}
    more = {"servers.local.reconnect_min": "50ms", "servers.local.reconnect_max": "1500ms"}
    with scripted_mix() as mix:
        mix.streams = dict(feeds)
        mix.list(*feeds)
        with started(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            begin = monotonic()
            wait_until(lambda: monotonic() - begin > 7, 20, "seven seconds of it", 0.1)
            asked = {
                name: [request.at - feed.requests[0].at for request in feed.requests] for name, feed in feeds.items()
            }
            for feed in feeds.values():
                feed.fail(())
            wait_delivered(bridge, feeds)
            assert bridge.terminate() == 0
    proven(kafka, namespace, feeds)
    for name, times in asked.items():
        by_second = [sum(int(at) == second for at in times) for second in range(7)]
        print(name, by_second)
        # Waits are random below a bound that doubles to 1.5 s: 6 in the first seconds, then 4 in 3 s on the average.
        assert len(times) <= 30, (name, by_second)
        assert sum(by_second[4:]) <= 14, (name, by_second)


def test_a_refused_token_is_loud_and_asked_for_slowly(kafka: str, namespace: str, tmp_path: Path) -> None:
    """401 and 403: said in the log, ``/readyz`` 503, five seconds until the next try, with the file's new token."""
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
            for name in feeds:
                line = wait_logged(bridge, "unauthorized", f"status {name}")
                assert line["session"] == name
                assert line["level"] in {"warning", "error"}
                assert session(bridge, name)["last_error"] == f"status {name}"
            token.write_text("new\n")
            wait_delivered(bridge, feeds)
            bridge.wait_ready()
            assert bridge.terminate() == 0
            assert "Bearer" not in bridge.log_text()
    proven(kafka, namespace, feeds)
    for name, feed in feeds.items():
        refused, taken = feed.requests
        assert 5 <= taken.at - refused.at < 9, name
        assert (refused.headers["authorization"], taken.headers["authorization"]) == (b"Bearer old", b"Bearer new")


def _guarded(feed: FaultyFeed, refusal: int) -> Script:
    """The feed, for who has the new token."""

    def script(peer: Peer) -> None:
        feed.fail([] if peer.headers["authorization"] == b"Bearer new" else [bad.status(refusal)])
        feed(peer)

    return script


def test_a_server_that_is_killed_and_comes_back_costs_nothing(kafka: str, namespace: str, tmp_path: Path) -> None:
    """A real process, killed again and again under load, away for a while each time: refused connections, resets."""
    rounds = 3 * EFFORT
    names = [f"s{number}" for number in range(5)]
    feeds = {name: FaultyFeed(numbered(1, 300 * rounds)) for name in names}
    with (
        KilledServer(tmp_path, names, 300 * rounds) as server,
        started(tmp_path, settings(kafka, namespace, server.url)) as bridge,
    ):
        for killed in range(rounds):
            wait_more_than(bridge, (100 + 300 * killed) * len(names))
            server.kill()
            wait_until(lambda: bridge.get("/readyz").status == 503, 10, "a 503 of /readyz", 0.02)
            server.start()
        wait_delivered(bridge, feeds)
        bridge.wait_ready()
        reconnects = metric(bridge, "reconnects_total")
        assert bridge.terminate() == 0
    proof = proven(kafka, namespace, feeds)
    print(f"{rounds} kills, {reconnects:.0f} reconnects, {proof.events} events, {proof.repeats} repeats")
    assert proof.repeats == 0


def wait_more_than(bridge: Bridge, count: int) -> None:
    """Return once more than so many records of all sessions are acknowledged."""

    def delivered() -> int:
        return sum(one["acknowledged_sequence"] for one in status(bridge)["sessions"])

    wait_until(lambda: delivered() > count, 30, "some events", 0.02)


def test_an_old_server_is_not_hammered_about_a_session_it_does_not_know(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """It answers 200, one ``error`` event and the end of the body: asked a few times, whatever the settings."""
    unknown = b'event: error\ndata: {"error":"session not found"}\n\n'
    with scripted_mix() as refusing, scripted_mix() as accepting:
        more: dict[str, object] = {"servers.accepting.url": accepting.url}
        for name, mix, without_ids in (("local", refusing, "refuse"), ("accepting", accepting, "accept")):
            mix.streams = {"unknown": bad.only(UNTIL_CLOSE + unknown)}
            mine = {"sessions": "unknown", "discover": False, "without_ids": without_ids, "reconnect_min": "50ms"}
            more |= {f"servers.{name}.{key}": value for key, value in (mine | {"reconnect_max": "60s"}).items()}
        with started(tmp_path, settings(kafka, namespace, refusing.url, more)) as bridge:
            begin = monotonic()
            wait_until(lambda: monotonic() - begin > 4, 20, "four seconds of it", 0.1)
            assert bridge.terminate() == 0
    # Waits are random below a bound that doubles from 50 ms: seven on the average until one ends beyond 4 s.
    assert 1 <= len(refusing.asked) <= 14
    assert 1 <= len(accepting.asked) <= 14
    print(f"{len(refusing.asked)} and {len(accepting.asked)} requests, {len(events(kafka, namespace))} records")
