"""``check --probe`` on real sockets: what it reports about each kind of server, and which requests it sends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bridge.admin.check import probe as probe_module
from bridge.admin.check.line import Line, State
from bridge.admin.check.probe import Probed, probe
from bridge.core.identity import SessionKey
from bridge.daemon.source import Source
from bridge.settings import load_all
from bridge.sse.connection import Connector
from tests.fakes.raw_server import Peer, answer
from tests.support.scripted_mix import (
    Feed,
    Script,
    ScriptedMix,
    block,
    content,
    contents,
    cut,
    scripted_mix,
    send,
    status,
    stream,
)
from tests.support.waiting import TIMEOUT

NO_ID = block(None, "content", content("x"))


@pytest.fixture
def mix() -> Iterator[ScriptedMix]:
    """A server whose streams the tests choose."""
    with scripted_mix() as server:
        yield server


def probed(mix: ScriptedMix, script: Script, listen: float = 5.0, **more: Any) -> Line:
    mix.streams = {"a/b": script}
    chosen = {"url": mix.url, "replay_timeout": "500ms", **more}
    base = {f"servers.local.{name}": value for name, value in chosen.items()}
    source = Source("local", load_all({"kafka.bootstrap_servers": "127.0.0.1:9", **base}, {}).settings)
    key, connector = SessionKey("local", "a/b"), Connector(source.endpoint)
    url, start = source.stream_url(key.session_id), source.settings.start_after_id
    what = Probed(key, url, connector, source.continuity(None), start, source.means_no_session, listen)
    return probe(what, lambda _: None)


def in_turn(*scripts: Script) -> Script:
    """The first script for the first request, and so on; the last one for all others."""
    left = list(scripts)

    def script(peer: Peer) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(peer)

    return script


def inclusive(peer: Peer) -> None:
    """Replays from the requested id on, that event included."""
    first = max(int(peer.headers.get("last-event-id", b"1")), 1)
    send(peer, contents(*range(first, 6)))
    peer.hold()


def ended(*blocks: bytes) -> Script:
    return lambda peer: peer.send(answer(200, b"Content-Type: text/event-stream", body=b"".join(blocks)))


@pytest.mark.parametrize(
    ("script", "ids"),
    [
        (Feed(5), ["0", "4"]),
        (inclusive, ["0", "4"]),
        (ended(*contents(1, 2, 3)), ["0", "2"]),
        (ended(*contents(1)), ["0", "0"]),
        (in_turn(Feed(5), status(409), Feed(5)), ["0", "4", "4"]),
    ],
    ids=["exclusive", "inclusive", "finite", "one event", "busy"],
)
def test_a_server_that_resumes_is_well(mix: ScriptedMix, script: Script, ids: list[str]) -> None:
    """The request after the cut has the id before the last one, as the daemon's."""
    line = probed(mix, script)
    assert (line.subject, line.state) == ("probe local/a/b", State.OK), line
    assert mix.ids_of("a/b") == ids
    assert f"after the id '{ids[-1]}'" in line.detail


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (in_turn(stream(*contents(1, 2, 3)), stream(block("900", "content", content("z")))), "did not resume"),
        (in_turn(stream(*contents(1, 2, 3)), stream()), "did not send the last known events again"),
        (in_turn(stream(*contents(1, 2, 3)), status(400)), "refuses to resume after the id '2': status 400"),
        (in_turn(stream(*contents(1, 2, 3)), stream(*contents(1, 5, 6))), "did not resume"),
    ],
    ids=["other ids", "live only", "refuses the id", "other events"],
)
def test_a_server_that_does_not_resume_fails(mix: ScriptedMix, script: Script, said: str) -> None:
    line = probed(mix, script)
    assert line.state is State.FAILED, line
    assert said in line.detail
    assert "replay by Last-Event-ID" in (line.hint or "")


@pytest.mark.parametrize("without_ids", ["refuse", "accept"])
@pytest.mark.parametrize(
    "script",
    [
        stream(block(None, "connected", '{"sessionId": "a/b"}')),
        stream(NO_ID, NO_ID),
        cut(block(None, "error", '{"error": "busy"}')),
    ],
    ids=["connected", "events", "an error, and a cut"],
)
def test_a_server_without_ids_is_asked_once(mix: ScriptedMix, script: Script, without_ids: str) -> None:
    """Each reader of such a Mix server takes part in runs."""
    line = probed(mix, script, without_ids=without_ids)
    assert (line.state, len(mix.asked)) == (State.FAILED, 1), line
    assert "without ids" in line.detail


@pytest.mark.parametrize(
    ("script", "state", "said"),
    [
        (status(404), State.FAILED, "GET /api/sessions"),
        (ended(block(None, "error", '{"error": "not found"}')), State.FAILED, "GET /api/sessions"),
        (status(401), State.FAILED, "servers.local.token"),
        (status(503), State.FAILED, "log"),
        (ended(), State.WARNING, "try again"),
    ],
    ids=["404", "an error and the end", "401", "503", "no event"],
)
def test_a_session_that_cannot_be_read_is_asked_once(mix: ScriptedMix, script: Script, state: State, said: str) -> None:
    line = probed(mix, script)
    assert (line.state, len(mix.asked)) == (state, 1), line
    assert said in (line.hint or "")


def test_a_silent_stream_is_left_after_a_while(mix: ScriptedMix) -> None:
    """The read timeout of a daemon is longer than a person waits."""
    line = probed(mix, stream(), listen=0.1)
    assert (line.state, len(mix.asked)) == (State.WARNING, 1), line
    assert line.detail == "no event came within 0.1 s: there is nothing to compare"


def test_a_server_that_does_not_answer_is_not_called_silent(mix: ScriptedMix, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for events begins with the answer, so a slow connection takes nothing of it."""
    monkeypatch.setattr(probe_module, "_ANSWER", 0.1)
    line = probed(mix, Peer.hold)
    assert (line.state, line.detail) == (State.WARNING, "the server did not answer within 0.1 s"), line


def test_the_first_connection_is_closed_before_the_second_is_opened(mix: ScriptedMix) -> None:
    """A server may allow only one reader."""
    left: list[Peer] = []
    feed = Feed(5)

    def first(peer: Peer) -> None:
        left.append(peer)
        send(peer, contents(1, 2, 3))
        peer.hold()

    def second(peer: Peer) -> None:
        assert left[0].closed_by_client.wait(TIMEOUT)
        feed(peer)

    line = probed(mix, in_turn(first, second))
    assert line.state is State.OK, line
