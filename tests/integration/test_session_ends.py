"""How a session ends and starts again: gone for a while, deleted, listed again; and how faulty ones are isolated."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.raw_server import CHUNKED, answer
from tests.support.scene import (
    accepted,
    bridged,
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
    cut,
    scripted_mix,
    stream,
)
from tests.support.scripted_mix import status as answering
from tests.support.waiting import wait_until


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
    one, other = Feed(2), Feed(2)
    with scripted_mix({"a": one, "b": other}) as mix, bridged(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
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
        with bridged(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
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
    assert texts(kafka, namespace, "good") == ["1", "2", "3", "4", "5"]
    sequences = [
        int((one.header("bridge.sequence") or "").partition(":")[2]) for one in events(kafka, namespace, "dead-letters")
    ]
    sequences += [one.sequence for one in accepted(kafka, namespace, "malformed")]
    assert sorted(sequences) == list(range(1, 10))


def test_a_connection_is_replaced_when_it_is_too_old(kafka: str, namespace: str, tmp_path: Path) -> None:
    """``max_connection_age``: the next connection resumes, and nothing is lost or repeated."""
    feed = Feed(2)
    with scripted_mix({"a": feed}) as mix:
        with bridged(
            tmp_path, settings(kafka, namespace, mix.url, {"servers.local.max_connection_age": "1s"})
        ) as bridge:
            wait_acknowledged(bridge, "a", 2)
            wait_until(lambda: len(mix.asked) >= 2, 10, "a second connection")
            feed.add(1)
            wait_acknowledged(bridge, "a", 3)
        assert mix.ids_of("a")[:2] == ["0", "1"]
    assert texts(kafka, namespace, "a") == ["1", "2", "3"]
