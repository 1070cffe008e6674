"""A session's worker against a real server: where it resumes, and when it starts a new epoch."""

from __future__ import annotations

import threading

import pytest

from bridge.clock import monotonic
from bridge.core.identity import Position
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow, digest
from bridge.daemon.session_states import State
from tests.fakes.raw_server import CHUNKED, Peer, answer, chunk
from tests.fakes.session_workers import RecordingPublisher, running_worker, session_worker
from tests.fakes.sources import source
from tests.support.scripted_mix import Feed, block, content, contents, cut, scripted_mix, send, status, stream
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    ("more", "position", "epochs"),
    [
        ({"without_ids": "accept"}, Position(9, 0, "0"), []),
        ({"start_after_id": ""}, Position(9, 0, ""), [""]),
        ({"start_after_id": ""}, Position(9, 3, ""), [""]),
        ({"without_ids": "accept"}, Position(9, 3, "3"), []),
        ({}, Position(9, 0, "0"), []),
        ({}, Position(9, 3, "3"), []),
    ],
)
def test_a_restart_starts_an_epoch_where_its_numbers_could_mean_other_events(
    more: dict[str, str], position: Position, epochs: list[str]
) -> None:
    """Without ids, or live only, the events after a crash are other ones than those published but not checkpointed."""
    with scripted_mix() as mix:
        mix.streams = {"a": (feed := Feed(5))}
        with running_worker(source(mix.url, **more), position) as (worker, publisher):
            wait_until(lambda: worker.state is State.STREAMING)
            feed.add(2)
            wait_until(lambda: publisher.published[-1:] == [content(7)])
            assert publisher.epochs == epochs


@pytest.mark.parametrize("first", [None, "0", "5"])
def test_a_first_number_whose_event_a_replay_may_leave_out_is_marked_before_it_is_used(first: str | None) -> None:
    """A process that is killed before the next checkpoint leaves this mark: then the id 1 does not prove number 1."""
    with scripted_mix() as mix:
        mix.streams = {"a": stream(block(first, "content", content(1)))}
        with running_worker(source(mix.url, without_ids="accept")) as (_, publisher):
            wait_until(lambda: publisher.published)
            assert publisher.marks == [OverlapWindow("", "0")]


@pytest.mark.parametrize("start", ["0", ""])
def test_a_first_number_that_a_replay_brings_again_needs_no_mark(start: str) -> None:
    """It has the id after the start id; without a start id, a crash starts an epoch anyway."""
    with scripted_mix() as mix:
        mix.streams = {"a": stream(*contents(1, 2))}
        with running_worker(source(mix.url, start_after_id=start)) as (_, publisher):
            wait_until(lambda: publisher.published)
            assert publisher.marks == []


def test_an_event_zero_that_is_found_after_a_crash_starts_an_epoch() -> None:
    """The killed process began with the event 1, and may have used its number."""
    blocks = [block(str(at), "content", content(at)) for at in range(3)]
    with scripted_mix() as mix:
        mix.streams = {"a": lambda peer: stream(*blocks[1 + int(peer.headers["last-event-id"]) :])(peer)}
        with running_worker(source(mix.url), Position(9, 0, "0")) as (_, publisher):
            wait_until(lambda: publisher.position == Position(10, 3, "2"))
        assert mix.ids_of("a") == ["0", "-1", "-1"]
        assert publisher.announced == ["gap"]


def ids_of_a_kept_position(refusal: int) -> list[str | None]:
    """Refuse twelve requests with this status after three events; return the ids of all requests.

    Asserts that the session then resumes where it was.
    """
    with scripted_mix() as mix:
        feed = Feed(3)
        mix.streams = {"a": lambda peer: peer.send(answer(refusal)) if 1 < len(mix.asked) < 14 else feed(peer)}
        with running_worker(source(mix.url, gone_after=0)) as (_, publisher):
            wait_until(lambda: publisher.position.sequence == 3)
            feed.cut()
            wait_until(lambda: len(mix.asked) > 1)
            feed.add(2)
            wait_until(lambda: publisher.position == Position(1, 5, "5"))
        assert publisher.announced == ["attached", "resumed"]
        return mix.ids_of("a")


@pytest.mark.parametrize("begun", [b"", b"id: 4\nevent: con"])
def test_streams_that_are_cut_before_their_first_event_cost_no_position(begun: bytes) -> None:
    """Twelve in a row, within milliseconds, after a restart that left only the last event known."""
    with scripted_mix() as mix:
        feed = Feed(5)
        mix.streams = {"a": lambda peer: peer.send(CHUNKED + chunk(begun)) if len(mix.asked) <= 12 else feed(peer)}
        known = OverlapWindow("2", "3", digest(Event("content", content(3), "3", "3", 0)))
        with running_worker(source(mix.url), Position(9, 3, "3"), window=known) as (_, publisher):
            wait_until(lambda: publisher.position == Position(9, 5, "5"))
        assert publisher.announced == ["resumed"]
        assert set(mix.ids_of("a")) == {"2"}


def test_a_proxy_that_refuses_everything_costs_no_position() -> None:
    """However long: the request without an id is refused too."""
    assert ids_of_a_kept_position(400) == ["0"] + ["2", None] * 6 + ["2"]


def test_a_start_id_that_was_accepted_before_is_never_dropped() -> None:
    """The server accepted the ids of a restored session: it continues with the start id at worst."""
    with scripted_mix() as mix:
        feed = Feed(5)

        def script(peer: Peer) -> None:
            is_refused = "last-event-id" in peer.headers and len(mix.asked) < 12
            peer.send(answer(400)) if is_refused else feed(peer)

        mix.streams = {"a": script}
        with running_worker(source(mix.url, gone_after=0), Position(1, 3, "3")) as (_, publisher):
            wait_until(lambda: publisher.position == Position(2, 5, "5"))
        assert mix.ids_of("a") == ["3", None] * 3 + ["3"] + ["0"] * 5


@pytest.mark.parametrize(("is_new", "announced"), [(True, ["attached"]), (False, ["unresumable"])])
def test_only_a_sessions_first_epoch_is_attached(is_new: bool, announced: list[str]) -> None:  # noqa: FBT001
    """A later one may begin at the start id too, after a loss: ``attached`` would hide that."""
    with scripted_mix() as mix:
        mix.streams = {"a": stream(block(None, "content", content(1)))}
        of = source(mix.url, without_ids="accept")
        with running_worker(of, Position(9, 0, "0"), is_new=is_new) as (_, publisher):
            wait_until(lambda: publisher.published)
            assert publisher.announced[:1] == announced


@pytest.mark.parametrize(
    ("answered", "times"), [(b"", 3), (CHUNKED, 3), (answer(502), 3), (answer(400), 1), (answer(500), 1)]
)
def test_a_server_that_fails_over_the_bridges_own_question_is_read_nevertheless(answered: bytes, times: int) -> None:
    """It is asked after a crash before the first event, and again where the network may have failed.

    Nothing proves that the first event came: a gap.
    """
    with scripted_mix() as mix:
        feed = Feed(3)
        mix.streams = {"a": lambda peer: peer.send(answered) if peer.headers["last-event-id"] == b"-1" else feed(peer)}
        with running_worker(source(mix.url), Position(9, 0, "0")) as (_, publisher):
            wait_until(lambda: publisher.position == Position(9, 3, "3"))
        assert mix.ids_of("a") == ["0", *["-1"] * times, "0"]
        assert (publisher.announced, publisher.published) == (["gap"], [content(at) for at in (1, 2, 3)])


@pytest.mark.parametrize(("refusal", "start"), [(400, "0"), (500, "0"), (400, "")])
def test_an_id_is_dropped_if_only_requests_without_it_are_answered(refusal: int, start: str) -> None:
    """Three times in turn. The record promises only what the next request can bring."""
    with scripted_mix() as mix:
        feed = Feed()
        mix.streams = {
            "a": lambda peer: peer.send(answer(refusal)) if peer.headers.get("last-event-id") == b"2" else feed(peer)
        }
        with running_worker(source(mix.url, gone_after=0, start_after_id=start)) as (worker, publisher):
            wait_until(lambda: worker.state is State.STREAMING)
            feed.add(3)
            wait_until(lambda: publisher.position.sequence == 3)
            feed.cut()
            wait_until(lambda: len(mix.asked) == 9 and worker.state is State.STREAMING)
            feed.add(1)
            wait_until(lambda: publisher.position == Position(2, 4 if start else 1, "4"))
        assert mix.ids_of("a") == [start or None, *["2", None] * 3, "2", start or None]
        assert publisher.announced[:2] == ["attached", "unresumable"]
        what = "the events after the id '0' that the server still has" if start else "events from now on"
        assert publisher.details[0] == f"the session is bridged: {what}"
        assert publisher.details[1].endswith(f"Last-Event-ID): the stream continues with {what}")


def test_a_server_that_is_unavailable_is_not_asked_without_an_id() -> None:
    """It is an outage: the position stays, however long it takes."""
    assert None not in ids_of_a_kept_position(503)


def test_sessions_do_not_end_in_an_outage_that_began_before_a_restart() -> None:
    """The proxy answers 404 for the list too; most of the sessions that streamed before are gone at once."""
    with scripted_mix() as mix:
        for discover in ("true", "false"):
            one = source(mix.url, gone_after="1h", discover=discover, sessions="a")
            one.gone_sessions.restored("other")
            one.gone_sessions.failed("other", monotonic())
            one.gone_sessions.has_no_list()
            with running_worker(one, Position(9, 3, "3")) as (worker, _):
                wait_until(lambda: worker.retries.history.gone.since is not None)
                assert not one.gone_sessions.may_end("a", 0.0, monotonic())


def test_a_session_that_the_list_still_has_does_not_end() -> None:
    """A 404 for as long as that comes from an outage; the end follows the list that lacks it."""
    with scripted_mix() as mix:
        mix.streams = {"a": status(404)}
        one = source(mix.url, gone_after=0)
        one.gone_sessions.list_came({"a"}, monotonic() + 3600)
        with running_worker(one) as (worker, publisher):
            wait_until(lambda: len(mix.asked) > 12)
            assert (worker.is_over, publisher.announced) == (False, [])
            assert one.list_wanted.is_set()
            one.gone_sessions.list_came({"b"}, monotonic() + 3600)
            wait_until(lambda: worker.is_over)
            assert (worker.state, publisher.announced) == (State.ENDED, ["ended"])


def test_a_session_that_has_ended_is_not_ended_again() -> None:
    """It is tried again after a while; nothing is written while its stream does not come."""
    with scripted_mix() as mix:
        mix.streams = {"a": status(404)}
        with running_worker(
            source(mix.url, gone_after=0, discover="false", sessions="a"), Position(9, 3, "3"), state="ended"
        ) as one:
            wait_until(lambda: one[0].is_over)
            assert (one[0].state, one[1].announced) == (State.ENDED, [])


def test_a_stream_that_only_reports_an_error_counts_as_a_failure() -> None:
    """An old server answers an unknown session with 200 and one event without an id: the back-off grows."""
    with scripted_mix() as mix:
        mix.streams = {"a": cut(block(None, "error", '{"type":"error","error":"no"}'))}
        more = {"without_ids": "accept", "reconnect_max": "1h"}
        with running_worker(source(mix.url, **more)) as (worker, _):
            wait_until(lambda: worker.retries.history.failures >= 4)


@pytest.mark.parametrize("end", ["reset", "retire"])
def test_an_error_event_before_a_broken_connection_is_published(end: str) -> None:
    """Only an answer that the server itself ended after that event is an unknown session."""
    error = '{"type":"error","error":"no"}'
    with scripted_mix() as mix:
        sent = threading.Event()

        def script(peer: Peer) -> None:
            send(peer, [block(None, "error", error)])
            sent.set()
            peer.hold() if end == "retire" else peer.send(b"5\r\nbro")

        mix.streams = {"a": lambda peer: script(peer) if len(mix.asked) == 1 else peer.hold()}
        with running_worker(source(mix.url, without_ids="accept")) as (worker, publisher):
            sent.wait()
            if end == "retire":
                wait_until(lambda: worker.bytes_read > 0 and worker._connection is not None)
                worker._connector.retire()
            wait_until(lambda: publisher.published == [error])
            assert publisher.announced[:1] == ["attached"]


def test_a_stream_that_moved_the_id_resets_the_back_off() -> None:
    """However short the connection was."""
    with scripted_mix() as mix:
        mix.streams = {"a": lambda peer: send(peer, [block(str(len(mix.asked)), "content", content(1))])}
        with running_worker(source(mix.url)) as (worker, _):
            wait_until(lambda: len(mix.asked) > 6)
            assert worker.retries.history.failures <= 1


def test_a_session_without_a_thread_crashes_and_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of threads must cost one session for a while, not the daemon."""
    worker = session_worker(source("http://127.0.0.1:9"), RecordingPublisher())

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    worker.start()
    assert (worker.state, worker.is_over) == (State.CRASHED, True)
    assert worker.stream.counters.last_error == "can't start new thread"
    worker.stop()
    assert worker.join(monotonic() + 1)


def test_the_time_without_a_stream_is_counted() -> None:
    """From the loss of the connection to the next answer, back-off and failed attempts included; not the first one."""
    with scripted_mix() as mix:
        feed = Feed(3)
        mix.streams = {"a": lambda peer: peer.send(answer(503)) if len(mix.asked) in {1, 3} else feed(peer)}
        local = source(mix.url)
        with running_worker(local) as (_, publisher):
            wait_until(lambda: publisher.position.sequence == 3)
            assert local.reconnect_duration.snapshot().count == 0
            feed.cut()
            wait_until(lambda: len(mix.asked) == 4)
            wait_until(lambda: local.reconnect_duration.snapshot().count == 1)
