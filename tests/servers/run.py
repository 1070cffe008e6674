"""Kill the bridge and cut its connections while third-party servers publish, then compare Kafka with their events.

Against a server that replays, each event must arrive once. Against one that does not, what arrives must be unaltered
and in order, and each connection after the first must be announced as a loss.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.servers.programs import go, nchan, node, spring, starlette
from tests.servers.server import ALL, CHANNELS, JSON, RATE, RunningServer, Server
from tests.support.effort import new_seed
from tests.support.lifecycle import lifecycles
from tests.support.mix import prove
from tests.support.process import Bridge
from tests.support.rule import follow
from tests.support.topics import end_offsets, read_topic
from tests.support.waiting import let_pass, wait_until

QUICK = (
    Server("sse_channel", lambda _: node("sse-channel"), ALL, {"start_after_id": "0"}),
    Server("better_sse", lambda _: node("better-sse"), JSON),
    Server("express_sse", lambda _: node("express-sse"), JSON, replays=False, sends_head=False),
    Server("sse_starlette", lambda _: starlette()),
)
"""Servers whose packages are fetched in seconds."""
SLOW = (
    Server("r3labs", lambda _: go("r3labs")),
    Server("go_sse", lambda _: go("go-sse"), sends_head=False),
    Server("mercure", lambda _: go("mercure"), ALL, {"start_after_id": "earliest"}),
    Server("nchan", nchan, takes_lists=False),
    Server("spring", lambda _: spring(), JSON, sends_head=False),
)
"""Servers that are compiled, or need a package of the operating system."""
_ANNOUNCED = {"gap", "reset", "unresumable"}


def survive(folder: Path, kafka: str, namespace: str, servers: Sequence[Server], times: int) -> list[str]:
    """Kill the bridge ``times`` times and cut each connection as often. Return a row of figures for each server."""
    chance = random.Random(new_seed())
    with ExitStack() as stack:
        running = [stack.enter_context(RunningServer(each, folder / each.name)) for each in servers]
        bridge = stack.enter_context(Bridge(folder / "bridge", _settings(kafka, namespace, running)))
        _wait_connected(bridge, running)
        for each in running:
            each.publish_steadily()
        for _ in range(times):
            _wait_flow(bridge)
            let_pass(chance.uniform(0, 0.5))  # the moment of the kill is random
            bridge.kill()
            bridge.start()
            _wait_flow(bridge)
            for each in running:
                each.proxy.cut()
        _wait_flow(bridge)
        for each in running:
            each.finish()
        _wait_for_the_last(bridge, kafka, namespace, running)
        assert bridge.terminate() == 0, bridge.log_text()[-2000:]
    return [_compare(kafka, namespace, each, 2 * times) for each in running]


def topic(namespace: str, server: str) -> str:
    """Return the topic with the events of one server."""
    return f"{namespace}.{server}"


def _settings(kafka: str, namespace: str, running: Sequence[RunningServer]) -> dict[str, object]:
    chosen: dict[str, object] = {
        "namespace": namespace,
        "instance": "bridge",
        "kafka.bootstrap_servers": kafka,
        "topics.partitions": 1,
        "topics.shards": 2,
        "topics.routes": [
            {"match": "*", "server": each.server.name, "topic": topic(namespace, each.server.name)} for each in running
        ],
        "events.format": "binary",
    }
    for each in running:
        own: dict[str, object] = {
            "url": f"http://{each.proxy.address}",
            "stream_path": "/channels/{session}/events",
            "event_schema": "none",
            "discover": False,
            "sessions": list(CHANNELS),
            "reconnect_min": "50ms",
            "reconnect_max": "500ms",
            **each.server.settings,
        }
        chosen |= {f"servers.{each.server.name}.{key}": value for key, value in own.items()}
    return chosen


def _sessions(bridge: Bridge) -> dict[tuple[str, str], dict[str, object]]:
    return {(one["server"], one["session"]): one for one in bridge.get("/api/status").json()["sessions"]}


def _streaming(bridge: Bridge) -> set[tuple[str, str]]:
    return {key for key, one in _sessions(bridge).items() if one["state"] == "streaming"}


def _wait_connected(bridge: Bridge, running: Sequence[RunningServer]) -> None:
    """Return once all streams are open: without a start id, some servers send only what comes later."""
    known = {(each.server.name, channel) for each in running if each.server.sends_head for channel in CHANNELS}
    wait_until(lambda: known <= _streaming(bridge), 30, f"open streams, see {bridge.log}", 0.1)
    wait_until(lambda: all(each.proxy.accepted >= len(CHANNELS) for each in running), 30, "connections")
    let_pass(1)  # a server without a response head does not show that it handles the request


def _wait_flow(bridge: Bridge) -> None:
    """Return once every session had half a second of events after now.

    A kill in a session's first moments costs a new epoch where ids are no numbers.
    """

    def position(one: dict[str, object]) -> tuple[int, int]:
        return int(str(one["epoch"] or 0)), int(str(one["acknowledged_sequence"]))

    before = {key: position(one) for key, one in wait_until(lambda: _sessions(bridge), 30, "sessions").items()}

    ahead = {key: (epoch, number + RATE // 2) for key, (epoch, number) in before.items()}

    def behind() -> set[tuple[str, str]]:
        now = {key: position(one) for key, one in _sessions(bridge).items()}
        return {key for key in ahead if now.get(key, (0, 0)) <= ahead[key]}

    try:
        wait_until(lambda: not behind(), 60, f"a flow of events, see {bridge.log}", 0.1)
    except AssertionError as failure:
        raise AssertionError(f"{failure}; behind: {behind()}") from failure


def _wait_for_the_last(bridge: Bridge, kafka: str, namespace: str, running: Sequence[RunningServer]) -> None:
    for each in running:
        published = {channel: len(entries) for channel, entries in each.journal.items()}
        if each.server.replays:
            wait_until(
                lambda: {channel: _number(bridge, each.server.name, channel) for channel in CHANNELS} == published,  # noqa: B023 - called before the next turn
                60,
                f"{published} of {each.server.name}, see {bridge.log}",
                0.2,
            )
        else:
            last = {entries[-1].data for entries in each.journal.values()}
            name = topic(namespace, each.server.name)
            wait_until(lambda: last <= {one.value for one in read_topic(kafka, name)}, 60, "the last event", 0.5)  # noqa: B023


def _number(bridge: Bridge, server: str, channel: str) -> object:
    return _sessions(bridge)[server, channel]["acknowledged_sequence"]


def _compare(kafka: str, namespace: str, server: RunningServer, faults: int) -> str:
    name = topic(namespace, server.server.name)
    published = sum(map(len, server.journal.values()))
    if server.server.replays:
        proof = prove(kafka, [name], server.journal, server=server.server.name)
        lost, repeats, announced = 0, proof.repeats, 0
    else:
        lost, repeats = published - _in_order(kafka, name, server), 0
        announced = _all_announced(kafka, namespace, server, faults)
    assert end_offsets(kafka, f"{namespace}.dead-letters") == dict.fromkeys(
        end_offsets(kafka, f"{namespace}.dead-letters"), 0
    )
    row = f"| {server.server.name} | {faults} | {published:,} | {lost:,} | {announced} | {repeats:,} |"
    print(row, flush=True)
    return row


def _in_order(kafka: str, name: str, server: RunningServer) -> int:
    """Return the number of events that arrived, each of them unaltered, once and in the order of the journal."""
    accepted = follow(read_topic(kafka, name)).by_key()
    arrived = 0
    for channel, entries in server.journal.items():
        places = {entry.data: entry.sequence for entry in entries}
        got = [places[one.data] for one in accepted[f"{server.server.name}/{channel}"]]
        assert got == sorted(set(got)), f"{channel}: repeated or out of order"
        arrived += len(got)
    return arrived


def _all_announced(kafka: str, namespace: str, server: RunningServer, faults: int) -> int:
    """Return the number of announcements: one for each connection after the first, of each channel."""
    found = lifecycles(kafka, namespace)
    kinds = [[one.kind for one in found[f"{server.server.name}/{channel}"]] for channel in CHANNELS]
    for each in kinds:
        assert each[0] == "attached", each
        assert set(each[1:]) <= _ANNOUNCED, each
        assert len(each) - 1 >= faults, each
    return sum(map(len, kinds)) - len(kinds)
