"""What a server may have become until the next connection: told word for word, and nothing missed that it could give.

Each row is a session of one bridge. It has ten events in Kafka when its stream is interrupted; what happens to its
server meanwhile is the row's. A consumer that follows the rule then has exactly the events that are expected.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.lifecycle import BY_THE_BROKER, Told, lifecycles, must_be_true
from tests.support.mix import MixServer
from tests.support.process import Bridge, command
from tests.support.rule import Follower, follow
from tests.support.scene import events, last_checkpoint, settings, started, status
from tests.support.scripted_mix import content
from tests.support.waiting import wait_until

PATIENCE = 30.0


@dataclass
class Speaker:
    """A session of the simulated server, whose events are numbered in their text."""

    mix: MixServer
    name: str
    said: int = 0

    def say(self, count: int) -> None:
        """The next ones."""
        told = [content(number) for number in range(self.said + 1, self.said + count + 1)]
        self.mix.publish(self.name, *(("content", each) for each in told))
        self.said += count

    def fault(self, kind: str, **fields: object) -> None:
        """Of this session's server."""
        self.mix.fault(kind, session=self.name, **fields)


Act = Callable[[Speaker], None]


@dataclass(frozen=True)
class Row:
    """One behaviour and what has to come of it."""

    meanwhile: Act
    kind: str
    reason: str
    came: Sequence[int]
    """The texts of all events, as a consumer that follows the rule has them."""
    to: int | str | None = 0
    """``to_last_event_id``: so much above the last known, or this; None: any."""
    missing: int | None = None
    anew: bool = True
    """A new epoch begins."""
    first: Act = lambda _: None
    """Before anything is said."""
    after: Act = lambda _: None
    """Once there is a stream again."""
    then: str | None = None
    """The reason of ``resumed`` where it is told behind the other."""
    server: str = "local"


def steps(*each: Act) -> Act:
    """One after the other."""

    def act(speaker: Speaker) -> None:
        for one in each:
            one(speaker)

    return act


def say(count: int) -> Act:
    """So many events."""
    return lambda speaker: speaker.say(count)


def fault(kind: str, **fields: object) -> Act:
    """A fault of the simulated server."""
    return lambda speaker: speaker.fault(kind, **fields)


def numbers(*spans: tuple[int, int]) -> list[int]:
    """All numbers of some spans, ends included."""
    return [number for first, last in spans for number in range(first, last + 1)]


FORGETFUL = fault("restart", ids="fresh", history="forget")
UUID, FRESH_OWN = fault("ids", scheme="uuid"), fault("own_ids", ids="fresh")
PROVED = ("resumed", "replay_proved", numbers((1, 13)))

ROWS: Mapping[str, Row] = {
    "true": Row(say(3), *PROVED, anew=False),
    "restarted": Row(steps(fault("restart"), say(3)), *PROVED, anew=False),
    "three-under-one-id": Row(say(3), *PROVED, anew=False, first=fault("ids", scheme="group", size=3)),
    "opaque": Row(say(3), *PROVED, anew=False, first=UUID),
    "own-ids": Row(say(3), *PROVED, anew=False, first=FRESH_OWN),
    "plain": Row(say(3), "resumed", "believed", numbers((1, 13)), anew=False, server="plain"),
    "evicted": Row(
        steps(say(5), fault("evict", keep=2)), "gap", "forgotten", numbers((1, 10), (14, 15)), to=4, missing=3
    ),
    "evicted-own-ids": Row(  # ``connected`` takes ids too: how many events are missing is not known
        steps(say(5), fault("evict", keep=2)), "gap", "forgotten", numbers((1, 10), (14, 15)), to=None, first=FRESH_OWN
    ),
    "evicted-opaque": Row(
        steps(say(5), fault("evict", keep=2)), "gap", "not_recognised", numbers((1, 10), (14, 15)), to=None, first=UUID
    ),
    "evicted-up-to-ours": Row(
        steps(say(3), fault("evict", keep=3)), "resumed", "known_forgotten", numbers((1, 13)), to=1, missing=0
    ),
    "emptied": Row(
        fault("evict", keep=0), "resumed", "known_forgotten", numbers((1, 12)), to=1, missing=0, after=say(2)
    ),
    "fresh-ids-below-ours": Row(
        steps(fault("evict", keep=4), fault("restart", ids="fresh"), say(2)),
        "reset", "ids_started_over", numbers((1, 10), (7, 13)), to="7", after=say(1), then="nothing_before",
    ),
    "fresh-and-empty": Row(
        steps(FORGETFUL, say(2)), "reset", "ids_started_over", numbers((1, 13)), to="3", after=say(1),
        then="nothing_before",
    ),
    "fresh-beyond-ours": Row(
        steps(FORGETFUL, say(40)), "reset", "ids_started_over", numbers((1, 50)), then="nothing_before"
    ),
    "live-only": Row(  # its ``connected`` has the newest id, as if it took one: how many are missing is not known
        steps(fault("replay", start="live", times=1), say(3)),
        "gap", "forgotten", numbers((1, 10), (14, 14)), to=4, after=say(1),
    ),
    "from-its-start": Row(
        steps(fault("replay", start="oldest", times=1), say(3)),
        "reset", "ids_started_over", numbers((1, 10), (1, 13)), to="1",
    ),
    "refused-id": Row(
        steps(fault("status", status=410, times=3), say(3)),
        "unresumable", "refused_id", numbers((1, 10), (1, 13)), to="0", then="nothing_before",
    ),
    "no-ids": Row(
        steps(fault("replay", start="live"), say(3)), "unresumable", "no_ids", numbers((1, 10), (14, 14)),
        first=fault("ids", scheme="none"), after=say(1), server="lax",
    ),
}  # fmt: skip


class Scene(NamedTuple):
    """Who speaks to whom."""

    speakers: Mapping[str, Speaker]
    mix: MixServer
    bridge: Bridge

    def streams(self) -> bool:
        """Every session has one."""
        return Counter(one["state"] for one in status(self.bridge)["sessions"]) == {"streaming": len(ROWS)}


@contextmanager
def cut(scene: Scene, _settled: Callable[[], None]) -> Iterator[None]:
    """The streams end, and for a while there are no others."""
    refusal = scene.mix.fault("status", status=503)
    scene.mix.fault("disconnect")
    wait_until(lambda: not any(one["state"] == "streaming" for one in status(scene.bridge)["sessions"]), PATIENCE)
    yield
    scene.mix.clear(refusal)


@contextmanager
def stopped(scene: Scene, _settled: Callable[[], None]) -> Iterator[None]:
    """The bridge is stopped in order."""
    assert scene.bridge.terminate() == 0
    yield
    scene.bridge.start()


@contextmanager
def killed(scene: Scene, settled: Callable[[], None]) -> Iterator[None]:
    """The bridge dies, with nothing unsaid in its checkpoints: then its words are those of an orderly stop."""
    settled()
    scene.bridge.kill()
    yield
    scene.bridge.start()


@dataclass
class Far:
    """The far end."""

    kafka: str
    namespace: str
    last: dict[str, str] = field(default_factory=dict)
    """The last known id of each session, when it was interrupted."""
    numbers: dict[str, int] = field(default_factory=dict)
    """The records of each at that time."""

    def follower(self) -> Follower:
        """A consumer that follows the rule and has read all."""
        return follow(events(self.kafka, self.namespace))

    def came(self) -> dict[str, list[int]]:
        """What it has of each session, but for what the server tells of other sessions."""
        keys = self.follower().by_key()
        return {
            name: [_text(one.data) for one in keys.get(_key(name), []) if one.event == "mix.content"] for name in ROWS
        }

    def wait_came(self, expected: Mapping[str, Sequence[int]]) -> None:
        """Return once each has exactly this."""

        def differing() -> dict[str, list[int]]:
            return {name: came for name, came in self.came().items() if came != expected[name]}

        try:
            wait_until(lambda: not differing(), PATIENCE, interval=0.2)
        except AssertionError:
            found = differing()
            assert found == {name: expected[name] for name in found}

    def settled(self) -> None:
        """Return once the checkpoints have everything."""

        def done() -> bool:
            accepted = self.follower().by_key()
            written = {name: last_checkpoint(self.kafka, self.namespace, name, ROWS[name].server) for name in ROWS}
            return all(accepted[_key(name)][-1].sequence == one.get("sequence") for name, one in written.items())

        wait_until(done, PATIENCE, "checkpoints", 0.1)

    def note(self, mix: MixServer) -> None:
        """Remember where each stands."""
        journal, accepted = mix.journal(), self.follower().by_key()
        for name in ROWS:
            self.last[name] = journal[name][-1].id or "0"
            self.numbers[name] = accepted[_key(name)][-1].sequence


def _key(name: str) -> str:
    return f"{ROWS[name].server}/{name}"


def _text(data: bytes) -> int:
    return int(json.loads(data)["content"])


def _chosen(kafka: str, namespace: str, url: str) -> dict[str, object]:
    """One server under three names: as it is by default, believed, and without ids."""
    own: dict[str, dict[str, object]] = {"local": {}, "plain": {"overlap": False}, "lax": {"without_ids": "accept"}}
    more: dict[str, object] = dict(BY_THE_BROKER)
    for server, keys in own.items():
        names = ",".join(name for name, row in ROWS.items() if row.server == server)
        common = {"url": url, "sessions": names, "discover": False, "reconnect_min": "50ms", "reconnect_max": "200ms"}
        more |= {f"servers.{server}.{key}": value for key, value in {**common, **keys}.items()}
    return settings(kafka, namespace, url, more)


@pytest.mark.parametrize("interruption", [cut, stopped, killed])
def test_a_lifecycle_record_describes_each_interruption(
    kafka: str, namespace: str, tmp_path: Path, interruption: Callable[..., Iterator[None]]
) -> None:
    """The same type, reason, ids, number of missing events and epoch after a cut, a stop and a kill."""
    far = Far(kafka, namespace)
    options = ("--sessions", 0, "--heartbeat", 0.3, "--retry", 20)
    with MixServer(tmp_path / "mix", *options) as mix:
        speakers = {name: _speaker(mix, name) for name in ROWS}
        with started(tmp_path, _chosen(kafka, namespace, mix.url)) as bridge:
            scene = Scene(speakers, mix, bridge)
            _act(speakers, {name: say(10) for name in ROWS})
            far.wait_came(dict.fromkeys(ROWS, numbers((1, 10))))
            far.note(mix)
            with interruption(scene, far.settled):  # type: ignore[attr-defined]
                _act(speakers, {name: row.meanwhile for name, row in ROWS.items()})
            wait_until(scene.streams, PATIENCE, f"streams, see {bridge.log}", 0.05)
            _act(speakers, {name: row.after for name, row in ROWS.items()})
            far.wait_came({name: row.came for name, row in ROWS.items()})
            assert bridge.terminate() == 0
    assert far.came() == {name: list(row.came) for name, row in ROWS.items()}
    _judge(far)
    verified = command(["verify", "--json"], _chosen(kafka, namespace, "http://unknown.invalid"))
    assert verified.returncode == 0, verified.stdout + verified.stderr


def _speaker(mix: MixServer, name: str) -> Speaker:
    mix.post("/control/sessions", {"id": name, "rate": 0})
    speaker = Speaker(mix, name)
    ROWS[name].first(speaker)
    return speaker


def _act(speakers: Mapping[str, Speaker], acts: Mapping[str, Act]) -> None:
    for name, act in acts.items():
        act(speakers[name])


def _judge(far: Far) -> None:
    told, records = lifecycles(far.kafka, far.namespace), events(far.kafka, far.namespace)
    for name, row in ROWS.items():
        mine = told[_key(name)]
        expected = [("attached", "new_session"), (row.kind, row.reason)]
        if row.then is not None:
            expected.append(("resumed", row.then))
        assert [(one.kind, one.reason) for one in mine] == expected, name
        _judge_one(name, row, mine[:2], far)
        must_be_true(mine, (one for one in records if one.key == _key(name).encode()))
        _epochs_are_told(mine, (one.epoch for one in far.follower().by_key()[_key(name)]))


def _judge_one(name: str, row: Row, mine: Sequence[Told], far: Far) -> None:
    attached, told = mine
    last = far.last[name]
    to = str(int(last) + row.to) if isinstance(row.to, int) and row.to else row.to or last
    assert (told.epoch, told.sequence) == (attached.epoch, far.numbers[name]), name
    assert told.data["from_last_event_id"] == last, name
    assert row.to is None or told.data["to_last_event_id"] == to, (name, told)
    assert told.data["missing"] == row.missing, (name, told)
    assert (told.new_epoch is not None) == row.anew, (name, told)


def _epochs_are_told(mine: Sequence[Told], epochs: Iterable[int]) -> None:
    """An epoch that nobody told of would be a hole that nobody knows of."""
    known = {mine[0].epoch} | {one.new_epoch for one in mine if one.new_epoch is not None}
    assert set(epochs) == known
