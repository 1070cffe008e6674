"""How a session ends and starts again: gone for a while, deleted, listed again; and how faulty ones are isolated."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.fakes.raw_server import CHUNKED, Peer, answer, chunk
from tests.support.scene import (
    accepted,
    events,
    last_checkpoint,
    session,
    settings,
    started,
    status,
    texts,
    wait_acknowledged,
    wait_checkpoint,
    wait_logged,
)
from tests.support.scripted_mix import (
    Feed,
    block,
    content,
    contents,
    cut,
    scripted_mix,
    send,
    stream,
)
from tests.support.scripted_mix import status as answering
from tests.support.waiting import wait_until

NO_CONTENT = b"HTTP/1.1 204 Nothing\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("gone", [answer(404), NO_CONTENT], ids=["404", "204"])
def test_a_session_that_stays_gone_ends_and_resumes_when_listed_again(
    kafka: str, namespace: str, tmp_path: Path, gone: bytes
) -> None:
    """Three tries and ``gone_after``; the checkpoint says ended; listed again, it resumes at its position."""
    with scripted_mix() as mix:
        feed = Feed(3)
        mix.serve({"a": feed})
        with started(tmp_path, settings(kafka, namespace, mix.url, {"servers.local.gone_after": "300ms"})) as bridge:
            wait_acknowledged(bridge, "a", 3)
            before = len(mix.asked)
            mix.list()
            mix.streams = {"a": lambda peer: peer.send(gone)}
            feed.cut()
            ended = wait_checkpoint(kafka, namespace, "a", lambda one: one["state"] == "ended")
            assert len(mix.asked) - before >= 3
            assert (ended["last_event_id"], ended["sequence"]) == ("3", 3)
            wait_until(lambda: not session(bridge, "a"), 10, "its end")
            polls = mix.lists
            wait_until(lambda: mix.lists > polls + 1, 10, "a list without it")
            feed.add(2)
            mix.serve({"a": feed})
            wait_acknowledged(bridge, "a", 5)
            wait_checkpoint(kafka, namespace, "a", lambda one: one["state"] == "active" and one["sequence"] == 5)
            assert mix.ids_of("a")[-1] == "2"
            assert bridge.terminate() == 0
    assert [one.sequence for one in accepted(kafka, namespace, "a")] == [1, 2, 3, 4, 5]
    assert len({one.epoch for one in accepted(kafka, namespace, "a")}) == 1


def test_a_session_that_is_gone_for_a_moment_continues(kafka: str, namespace: str, tmp_path: Path) -> None:
    """One 404, as from a proxy during a deployment, does not end it."""
    with scripted_mix() as mix:
        feed, refusals = Feed(2), iter([answer(404), answer(404)])

        def flickering(peer: Peer) -> None:
            refusal = next(refusals, None) if len(mix.asked) > 1 else None
            feed(peer) if refusal is None else peer.send(refusal)

        mix.serve({"a": flickering})
        with started(tmp_path, settings(kafka, namespace, mix.url, {"servers.local.gone_after": 0})) as bridge:
            wait_acknowledged(bridge, "a", 2)
            feed.cut()
            feed.add(1)
            wait_acknowledged(bridge, "a", 3)
            assert bridge.terminate() == 0
    assert last_checkpoint(kafka, namespace, "a")["state"] == "active"


def test_a_configured_session_that_never_existed_ends_too(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Its checkpoint says so, at the id after which it would have started; the others continue."""
    with scripted_mix() as mix:
        mix.streams = {"real": Feed(1)}
        more = {
            "servers.local.sessions": "never,real",
            "servers.local.discover": False,
            "servers.local.gone_after": "100ms",
        }
        with started(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge:
            wait_acknowledged(bridge, "real", 1)
            ended = wait_checkpoint(kafka, namespace, "never", lambda one: one["state"] == "ended")
            assert (ended["last_event_id"], ended["sequence"]) == ("0", 0)
            assert wait_logged(bridge, "session ended", "never")["level"] == "info"


def test_the_event_session_deleted_ends_its_own_session_at_once(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Everything before it is delivered, and the event itself; an event about another session ends nothing."""
    deleted = '{"type":"session_deleted","sessionId":"a"}'
    with scripted_mix() as mix:
        one, other = Feed(2), Feed(2)
        mix.serve({"a": one, "b": other})
        with started(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            wait_acknowledged(bridge, "a", 2)
            wait_acknowledged(bridge, "b", 2)
            other.push("session_deleted", deleted)
            one.push("session_deleted", deleted)
            mix.list("b")
            ended = wait_checkpoint(kafka, namespace, "a", lambda each: each["state"] == "ended")
            assert (ended["last_event_id"], ended["sequence"]) == ("3", 3)
            wait_acknowledged(bridge, "b", 3)
            wait_until(lambda: not session(bridge, "a"), 10, "its end")
            assert session(bridge, "b")["state"] == "streaming"
            assert bridge.terminate() == 0
    assert [each.event for each in accepted(kafka, namespace, "a")][-1] == "mix.session_deleted"
    assert last_checkpoint(kafka, namespace, "b")["state"] == "active"


def test_faulty_sessions_do_not_affect_others(kafka: str, namespace: str, tmp_path: Path) -> None:
    """500s, 401s, pages, garbage, cuts, malformed and giant events, floods of headers: all besides a good one."""
    deep = "[" * 100_000
    malformed = [
        block("1", "content", deep),
        block("2", "content", '{"type":"content","content":"\\ud800"}'),
        b'id: 3\nevent: content\ndata: {"type":"content","content":"\xff\xfe"}\n\n',
        block("4", "content", "x" * 3_000_000),
        block("5", "\U0001f4a5 \x1b[2J", "1e400"),
        block("6", "session_deleted", deep),
        block("7", "content", '{"type":"content","content":"' + "9" * 5000 + '"}'),
        block("8", "content", "9" * 5000),
        block("9", "content", content("alive")),
    ]
    with scripted_mix() as mix:
        good = Feed(1)
        mix.streams = {
            "500": answering(500),
            "401": answering(401),
            "429": lambda peer: peer.send(answer(429, b"Retry-After: 1")),
            "page": lambda peer: peer.send(answer(200, b"Content-Type: text/html", body=b"data: x\n\n")),
            "garbage": lambda peer: peer.send(b"\0\1\2 no http\r\n\r\n"),
            "cut": cut(b"id: 1\nevent: content\nda"),
            "bad chunk": lambda peer: peer.send(CHUNKED + b"zz\r\nid: 1\r\n"),
            "flood": lambda peer: peer.send(CHUNKED[:-2] + b"x: y\r\n" * 100_000 + b"\r\n"),
            "mute": lambda peer: peer.hold(),
            "malformed": stream(*malformed),
            "good": good,
        }
        mix.list(*mix.streams)
        with started(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            wait_acknowledged(bridge, "malformed", 9)
            for count in range(2, 6):
                good.add(1)
                wait_acknowledged(bridge, "good", count)
            states = {one["session"]: (one["state"], one["last_error"]) for one in status(bridge)["sessions"]}
            assert states["good"] == ("streaming", None)
            assert states["malformed"] == ("streaming", None)
            for each in ("500", "401", "429", "page", "garbage", "flood"):
                assert states[each][0] in {"waiting", "connecting", "waiting for the response head"}, states[each]
                assert states[each][1], each
            assert states["bad chunk"][1]  # between the head and the bad chunk it is streaming, for a moment
            assert "bug" not in bridge.log_text()
            wait_until(lambda: bridge.get("/readyz").status == 503, what="most sessions to fail to connect")
            assert bridge.terminate() == 0
    assert texts(kafka, namespace, "good") == ["1", "2", "3", "4", "5"]
    sequences = [
        int((one.header("bridge.sequence") or "").partition(":")[2]) for one in events(kafka, namespace, "dead-letters")
    ]
    sequences += [one.sequence for one in accepted(kafka, namespace, "malformed")]
    assert sorted(sequences) == list(range(1, 10))


def test_a_connection_is_replaced_when_it_is_too_old(kafka: str, namespace: str, tmp_path: Path) -> None:
    """``max_connection_age``: the next connection resumes, and nothing is lost or repeated."""
    with scripted_mix() as mix:
        feed = Feed(2)
        mix.serve({"a": feed})
        with started(
            tmp_path, settings(kafka, namespace, mix.url, {"servers.local.max_connection_age": "1s"})
        ) as bridge:
            wait_acknowledged(bridge, "a", 2)
            wait_until(lambda: len(mix.asked) >= 2, 10, "a second connection")
            feed.add(1)
            wait_acknowledged(bridge, "a", 3)
            assert bridge.terminate() == 0
        assert mix.ids_of("a")[:2] == ["0", "1"]
    assert texts(kafka, namespace, "a") == ["1", "2", "3"]


def test_a_silent_connection_is_closed(kafka: str, namespace: str, tmp_path: Path) -> None:
    """No byte for ``read_timeout``: the next connection resumes."""
    quiet = threading.Event()
    with scripted_mix() as mix:
        feed = Feed(2)

        def script(peer: Peer) -> None:
            if quiet.is_set():
                feed(peer)
            else:
                quiet.set()
                send(peer, contents(1))
                peer.hold()

        mix.serve({"a": script})
        with started(tmp_path, settings(kafka, namespace, mix.url, {"servers.local.read_timeout": "500ms"})) as bridge:
            wait_acknowledged(bridge, "a", 2)
            assert wait_logged(bridge, "disconnected", "silent")["level"] == "warning"
        assert mix.ids_of("a")[:2] == ["0", "0"]


def test_an_incomplete_block_before_a_cut_is_not_an_event(kafka: str, namespace: str, tmp_path: Path) -> None:
    """It is discarded, and read again as a whole."""
    with scripted_mix() as mix:
        whole = contents(1, 2)

        def script(peer: Peer) -> None:
            if len(mix.asked) == 1:
                peer.send(CHUNKED + chunk(whole[0] + whole[1][:-1]) + b"0\r\n\r\n")
            else:
                send(peer, whole)
                peer.hold()

        mix.serve({"a": script})
        with started(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            wait_acknowledged(bridge, "a", 2)
            metrics = bridge.get("/metrics").text
            assert 'mix_bridge_discarded_tails_total{server="local"} 1.0' in metrics
            assert 'mix_bridge_reconnects_total{server="local"} 1.0' in metrics
            assert bridge.terminate() == 0
        assert mix.ids_of("a") == ["0", "0"]
    assert texts(kafka, namespace, "a") == ["1", "2"]
