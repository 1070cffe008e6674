"""Ids that cannot be used: refused, missing, or not to be put into a header. What then happens, and how it is said."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.raw_server import Peer, answer
from tests.support.process import Bridge
from tests.support.scene import (
    accepted,
    bridged,
    checkpoints,
    session,
    settings,
    started,
    texts,
    wait_accepted,
    wait_acknowledged,
    wait_checkpoint,
    wait_logged,
)
from tests.support.scripted_mix import Feed, block, content, contents, scripted_mix, send, stream
from tests.support.waiting import wait_until

AT_ONCE = {"servers.local.gone_after": 0}
"""Three refusals between answers without an id are enough."""


def test_a_server_that_refuses_the_first_id_is_asked_without_it(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Requests with ``start_after_id`` are refused, those without it between them are answered; said as an error."""
    feed = Feed()

    def script(peer: Peer) -> None:
        feed(peer) if "last-event-id" not in peer.headers else peer.send(answer(400))

    with scripted_mix({"a": script}) as mix, bridged(tmp_path, settings(kafka, namespace, mix.url, AT_ONCE)) as bridge:
        line = wait_logged(bridge, "unresumable", "refuses")
        assert (line["level"], line["session"], line["from_last_event_id"]) == ("error", "a", "0")
        wait_until(lambda: session(bridge, "a")["state"] == "streaming", 10, "a stream")
        feed.add(2)
        wait_acknowledged(bridge, "a", 2)
    assert mix.ids_of("a") == ["0", None] * 4
    assert texts(kafka, namespace, "a") == ["1", "2"]


def test_nothing_is_lost_when_the_id_was_not_what_the_server_refused(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """These are no refusals of the id, however often they come."""
    refusals = iter([401, 403, 404, 408, 409, 421, 423, 425, 426, 429, 431, 409, 409, 409, 425, 425, 425])
    feed = Feed(2)

    def script(peer: Peer) -> None:
        refusal = next(refusals, None)
        feed(peer) if refusal is None else peer.send(answer(refusal))

    with scripted_mix({"a": script}) as mix, started(tmp_path, settings(kafka, namespace, mix.url, AT_ONCE)) as bridge:
        wait_acknowledged(bridge, "a", 2)
    assert set(mix.ids_of("a")) == {"0"}


def test_a_refused_position_means_a_new_epoch_from_the_beginning(kafka: str, namespace: str, tmp_path: Path) -> None:
    """It may repeat, it hides nothing: the new epoch is announced by a checkpoint before its first record."""
    feed = Feed(3)

    def forgetful(peer: Peer) -> None:
        feed(peer) if peer.headers.get("last-event-id") != b"2" else peer.send(answer(410))

    with scripted_mix({"a": forgetful}) as mix:
        with bridged(tmp_path, settings(kafka, namespace, mix.url, AT_ONCE)) as bridge:
            wait_acknowledged(bridge, "a", 3)
            first = session(bridge, "a")["epoch"]
            feed.cut()
            wait_until(lambda: session(bridge, "a")["epoch"] > first, 10, "a new epoch")
            wait_accepted(kafka, namespace, "a", 6)
            assert "mix_bridge_epochs_begun_total" in bridge.get("/metrics").text
        assert mix.ids_of("a") == ["0", *["2", None] * 3, "2", "0"]
    got = accepted(kafka, namespace, "a")
    assert [one.sequence for one in got] == [1, 2, 3, 1, 2, 3]
    assert len({one.epoch for one in got}) == 2
    starts = [
        (one["last_event_id"], one["sequence"])
        for one in checkpoints(kafka, namespace)["local/a"]
        if one["sequence"] == 0
    ]
    assert starts == [("0", 0), ("0", 0)]


def test_events_before_the_first_one_without_an_id_are_kept(kafka: str, namespace: str, tmp_path: Path) -> None:
    """A server that gave ids once is one with ids: its later events without any do not stop the session."""
    with (
        scripted_mix({"a": stream(*contents(1), block(None, "content", content(2)), *contents(3))}) as mix,
        bridged(tmp_path, settings(kafka, namespace, mix.url)),
    ):
        wait_until(lambda: len(accepted(kafka, namespace, "a")) == 3, 10, "three records", 0.1)
    got = accepted(kafka, namespace, "a")
    assert [one.sequence for one in got] == [1, 2, 3]
    assert [b'"sseid"' in (one.record.value or b"") for one in got] == [True, False, True]


def test_an_id_that_http_cannot_carry_is_not_sent(kafka: str, namespace: str, tmp_path: Path) -> None:
    """The next request resumes after the last one that can be sent, and the replay proves itself all the same."""
    strange = b"id: \x01 strange \nevent: content\ndata: " + content("strange").encode() + b"\n\n"
    with scripted_mix() as mix:

        def script(peer: Peer) -> None:
            before = [] if peer.headers["last-event-id"] == b"1" else contents(1)
            send(peer, [*before, strange, *(contents(3) if len(mix.asked) > 2 else ())])
            if len(mix.asked) > 2:
                peer.hold()

        mix.serve({"a": script})
        with started(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            wait_until(lambda: len(mix.asked) == 3, 10, "two reconnects")
            wait_until(lambda: len(accepted(kafka, namespace, "a")) == 3, 10, "three records", 0.1)
            assert wait_logged(bridge, "HTTP cannot carry")["level"] == "error"
            assert bridge.terminate() == 0
            bridge.start()
            wait_until(lambda: len(mix.asked) == 4, 10, "a request after the restart")
        assert mix.ids_of("a")[:3] == ["0", "1", "1"]
    assert texts(kafka, namespace, "a") == ["1", "strange", "3"]
    assert len({one.epoch for one in accepted(kafka, namespace, "a")}) == 1


def test_an_event_without_data_moves_the_position_alone(kafka: str, namespace: str, tmp_path: Path) -> None:
    """An id-only block takes no number, and proves nothing: the stream is resumed before the last event."""
    with scripted_mix() as mix:

        def script(peer: Peer) -> None:
            send(
                peer,
                [*contents(1), b"id: 7\n\n"] if len(mix.asked) == 1 else [*contents(1), b"id: 7\n\n", *contents(8)],
            )
            if len(mix.asked) > 1:
                peer.hold()

        mix.serve({"a": script})
        with started(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            wait_acknowledged(bridge, "a", 2)
            wait_checkpoint(kafka, namespace, "a", lambda one: (one["last_event_id"], one["sequence"]) == ("8", 2))
        assert mix.ids_of("a") == ["0", "0"]
    assert texts(kafka, namespace, "a") == ["1", "8"]


def test_nothing_but_what_comes_now_is_asked_for_with_an_empty_start(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """``start_after_id`` empty: no header at first; afterwards the position as ever.

    An empty variable counts as not set, so the empty text comes from an option.
    """
    empty = ("--set", "servers.local.start_after_id=")
    feed = Feed(3)
    with scripted_mix({"a": feed}) as mix:
        with Bridge(tmp_path / "bridge", settings(kafka, namespace, mix.url)).start(*empty) as bridge:
            wait_until(lambda: session(bridge, "a").get("state") == "streaming", 10, "a stream")
            feed.add(1)
            wait_acknowledged(bridge, "a", 1)
            feed.cut()
            wait_until(lambda: len(mix.asked) == 2, 10, "a reconnect")
            feed.add(1)
            wait_acknowledged(bridge, "a", 2)
        assert mix.ids_of("a") == [None, "4"]
    assert texts(kafka, namespace, "a") == ["4", "5"]
