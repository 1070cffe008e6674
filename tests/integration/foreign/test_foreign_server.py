"""A server of event streams from another project as a source: kill -9 of the bridge, and resume through its replay."""

from __future__ import annotations

import random
from pathlib import Path

from tests.integration.foreign.server import ForeignServer
from tests.support.mix import prove
from tests.support.process import Bridge
from tests.support.topics import end_offsets
from tests.support.waiting import let_pass, wait_until

CHANNELS = ("numbers", "texts")
RATE = 200
KILLS = 5


def test_each_event_arrives_once_from_a_server_that_is_not_mix(kafka: str, namespace: str, tmp_path: Path) -> None:
    """Ids of its own kinds, data that is no JSON, several lines, no event name; nothing missing, nothing altered."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    folder = tmp_path / "foreign"
    with (
        ForeignServer(folder, RATE) as server,
        Bridge(tmp_path / "bridge", _settings(kafka, namespace, server.url)) as bridge,
    ):
        _kill_in_the_flow(bridge, random.Random(seed))
        wait_until(lambda: min(_connections(server)) > KILLS, 30, "the last resume")
        published = server.end()
        wait_until(lambda: _acknowledged(bridge) == published, 30, f"{published}, see {bridge.log}", 0.1)
        assert bridge.terminate() == 0
        journal = server.journal()
        requests = {channel: server.requests(channel) for channel in CHANNELS}
    assert {channel: len(entries) for channel, entries in journal.items()} == published
    proof = prove(kafka, [f"{namespace}.events"], journal, server="foreign")
    print(f"{proof.events} events, {proof.repeats} repeats, connections {requests}")
    assert not sum(end_offsets(kafka, f"{namespace}.dead-letters").values())
    for channel in CHANNELS:
        _resumed_by_id(requests[channel], [entry.id for entry in journal[channel]])


def test_data_that_is_not_json_is_kept_as_text(kafka: str, namespace: str, tmp_path: Path) -> None:
    """In the binary format a value is the data itself, and its type is in the headers."""
    with ForeignServer(tmp_path / "foreign", RATE) as server:
        settings = _settings(kafka, namespace, server.url) | {"events.format": "binary"}
        with Bridge(tmp_path / "bridge", settings) as bridge:
            wait_until(lambda: min(_acknowledged(bridge).values(), default=0) > 20, 30, "events")
            published = server.end()
            wait_until(lambda: _acknowledged(bridge) == published, 30, f"{published}", 0.1)
            assert bridge.terminate() == 0
        proof = prove(kafka, [f"{namespace}.events"], server.journal(), server="foreign")
    types = {one.event: one.record.header("content-type") for one in proof.follower.accepted}
    assert types == {
        "mix.reading": "application/json",
        "mix.json.lines": "application/json",
        "mix.message": "text/plain",
        "mix.lines": "text/plain",
        "mix.a name with blanks": "text/plain",
        "mix.nothing": "text/plain",
    }


def _settings(kafka: str, namespace: str, url: str) -> dict[str, object]:
    return {
        "namespace": namespace,
        "kafka.bootstrap_servers": kafka,
        "servers.foreign.url": url,
        "servers.foreign.stream_path": "/channels/{session}/events",
        "servers.foreign.event_schema": "none",
        "servers.foreign.start_after_id": "0",  # the library compares ids as texts, and all of them are above it
        "servers.foreign.discover": False,
        "servers.foreign.sessions": list(CHANNELS),
        "servers.foreign.reconnect_min": "50ms",
        "delivery.checkpoint_interval": "200ms",
    }


def _kill_in_the_flow(bridge: Bridge, chance: random.Random) -> None:
    """The server continues to publish meanwhile.

    Each kill follows many events: one in a session's first moments costs a new epoch where ids are no numbers.
    """
    for _ in range(KILLS):
        before = max(wait_until(lambda: _acknowledged(bridge), 30, f"sessions, see {bridge.log}").values())
        wait_until(lambda: min(_acknowledged(bridge).values()) > before + RATE / 2, 30, "a flow of events")  # noqa: B023 - called before the next turn
        let_pass(chance.uniform(0, 0.5))  # the moment of the kill is what is random here
        bridge.kill()
        bridge.start()


def _connections(server: ForeignServer) -> list[int]:
    return [len(server.requests(channel)) for channel in CHANNELS]


def _acknowledged(bridge: Bridge) -> dict[str, int]:
    """By session, once both are there."""
    sessions = bridge.get("/api/status").json()["sessions"]
    found = {one["session"]: one["acknowledged_sequence"] for one in sessions}
    return found if len(found) == len(CHANNELS) else {}


def _resumed_by_id(asked: list[str | None], published: list[str]) -> None:
    """Each connection asked for what comes after an event of the server's, each after a later one than before."""
    assert asked[0] == "0"
    places = [published.index(one) for one in asked if one is not None and one != "0"]
    assert len(places) >= KILLS - 1
    assert places == sorted(places)
