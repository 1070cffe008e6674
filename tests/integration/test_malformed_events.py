"""Malformed and giant events become events or dead letters, the events around them arrive, and memory is bounded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fakes import malformed_blocks as malformed
from tests.fakes.faulty_feed import FaultyFeed, Sent, numbered, up_to
from tests.fakes.raw_server import Peer, Script, answer
from tests.support.effort import EFFORT
from tests.support.feed_proof import proven, wait_delivered
from tests.support.scene import bridged, events, settings
from tests.support.scripted_mix import scripted_mix
from tests.support.usage import memory

GIANT = 20 * malformed.MIB
GIANTS = 6 * EFFORT


def between_valid_events(sent: Sequence[Sent]) -> list[Sent]:
    """Put each between two ordinary events."""
    return [each for number, one in enumerate(sent) for each in (*numbered(10_000 + number, 1), one)] + numbered(
        19_999, 1
    )


@pytest.mark.usefixtures("numbers_of_any_length")
def test_malformed_events_stop_no_stream_and_arrive_as_event_or_dead_letter(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """Bad UTF-8, bad JSON, unusual framing, unusual ids, giants: all at the same time, then again after a cut."""
    kinds = {
        "utf8": [*malformed.bad_utf8()],
        "json": [*malformed.bad_json()],
        "framing": [*malformed.unusual_framing()],
        "ids": [*malformed.unusual_ids()],
        "giants": [*malformed.giants(2 * malformed.MIB)],
    }
    feeds = {name: FaultyFeed(between_valid_events(sent)) for name, sent in kinds.items()}
    with scripted_mix(feeds) as mix, bridged(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
        wait_delivered(bridge, feeds)
        for feed in feeds.values():
            feed.fail([], numbered(20_000, 3))
        wait_delivered(bridge, feeds)
        assert "bug" not in bridge.log_text()
    proof = proven(kafka, namespace, feeds, new_epochs=True)
    letters = events(kafka, namespace, "dead-letters")
    print(f"{proof.events} events, {len(letters)} of them dead letters, {proof.repeats} repeats")


def test_ids_that_cannot_be_sent_back_cause_repeats_and_lose_no_event(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """Ids that no HTTP header can contain, and ids that the server refuses as too long: a cut after each of them."""
    kinds = {"unsendable": [*malformed.unsendable_ids()], "long": [*malformed.long_ids()]}
    feeds = {name: FaultyFeed(between_valid_events(sent), map(up_to, sent)) for name, sent in kinds.items()}
    with scripted_mix() as mix:
        mix.streams = {name: refusing_long_headers(feed) for name, feed in feeds.items()}
        mix.list(*feeds)
        with bridged(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            wait_delivered(bridge, feeds)
            assert "bug" not in bridge.log_text()
    proof = proven(kafka, namespace, feeds, new_epochs=True)
    epochs = {key: len({one.epoch for one in got}) for key, got in proof.follower.by_key().items()}
    print(f"{proof.events} events, epochs {epochs}")


def refusing_long_headers(feed: FaultyFeed) -> Script:
    """Serve the feed with a limit of 8 KiB for headers, as most servers have."""

    def script(peer: Peer) -> None:
        if max(map(len, peer.request.split(b"\r\n"))) > 8192:
            peer.send(answer(431))
        else:
            feed(peer)

    return script


def test_giant_events_in_a_row_need_bounded_memory(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Events of 20 MB on two streams become dead letters with size and digest; ordinary events between them arrive."""
    giants = [*malformed.giants_in_a_row(GIANT, GIANTS)]
    feeds = {"a": FaultyFeed(numbered(1, 1)), "b": FaultyFeed(numbered(1, 1))}
    with scripted_mix(feeds) as mix, bridged(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
        wait_delivered(bridge, feeds)
        before = memory(bridge.pid)
        Path(f"/proc/{bridge.pid}/clear_refs").write_text("5")  # resets the peak
        for feed in feeds.values():
            feed.add(giants)
        wait_delivered(bridge, feeds)
        grown = memory(bridge.pid, "VmHWM") - before
    proven(kafka, namespace, feeds)
    total = 2 * GIANTS * GIANT / malformed.MIB
    print(f"{total:.0f} MiB in events of {GIANT / 2**20:.0f} MiB: {grown / 2**20:.1f} MiB more than before at most")
    assert grown < 24 * malformed.MIB
