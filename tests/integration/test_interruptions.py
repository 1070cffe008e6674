"""Everything that a server may do between two connections: the lifecycle records describe it, and no event is lost.

Each case is a session of one bridge. It has ten events in Kafka when its stream is interrupted. The case defines what
happens to its server meanwhile. A consumer that follows the rule must then have exactly the expected events.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.lifecycle import BY_THE_BROKER, LifecycleRecord, assert_true, lifecycles
from tests.support.mix import MixServer
from tests.support.process import Bridge, command
from tests.support.rule import Follower, follow
from tests.support.scene import bridged, events, last_checkpoint, settings, status
from tests.support.scripted_mix import content
from tests.support.waiting import wait_until


@dataclass
class Session:
    """A session of the simulated server, whose events are numbered in their text."""

    mix: MixServer
    name: str
    published: int = 0

    def publish(self, count: int) -> None:
        """Publish the next events."""
        texts = [content(number) for number in range(self.published + 1, self.published + count + 1)]
        self.mix.publish(self.name, *(("content", each) for each in texts))
        self.published += count

    def fault(self, kind: str, **fields: object) -> None:
        """Inject a fault for this session."""
        self.mix.fault(kind, session=self.name, **fields)


Act = Callable[[Session], None]


@dataclass(frozen=True)
class Case:
    """One behaviour of the server and the expected result."""

    meanwhile: Act
    kind: str
    reason: str
    received: Sequence[int]
    """The texts of all events of a consumer that follows the rule."""
    to: int | str | None = 0
    """``to_last_event_id``: a difference to the last known id, or the id; None: any."""
    missing: int | None = None
    new_epoch: bool = True
    """Whether a new epoch starts."""
    first: Act = lambda _: None
    """Done before anything is published."""
    after: Act = lambda _: None
    """Done when there is a stream again."""
    then: str | None = None
    """The reason of a second record, ``resumed``."""
    server: str = "local"


def steps(*each: Act) -> Act:
    """One after the other."""

    def act(session: Session) -> None:
        for one in each:
            one(session)

    return act


def publish(count: int) -> Act:
    """Publish this many events."""
    return lambda session: session.publish(count)


def fault(kind: str, **fields: object) -> Act:
    """A fault of the simulated server."""
    return lambda session: session.fault(kind, **fields)


def numbers(*spans: tuple[int, int]) -> list[int]:
    """All numbers of the spans, including both ends."""
    return [number for first, last in spans for number in range(first, last + 1)]


FORGETFUL = fault("restart", ids="fresh", history="forget")
UUID, FRESH_OWN = fault("ids", scheme="uuid"), fault("own_ids", ids="fresh")
PROVED = ("resumed", "replay_proved", numbers((1, 13)))

CASES: Mapping[str, Case] = {
    "true": Case(publish(3), *PROVED, new_epoch=False),
    "restarted": Case(steps(fault("restart"), publish(3)), *PROVED, new_epoch=False),
    "three-under-one-id": Case(publish(3), *PROVED, new_epoch=False, first=fault("ids", scheme="group", size=3)),
    "opaque": Case(publish(3), *PROVED, new_epoch=False, first=UUID),
    "own-ids": Case(publish(3), *PROVED, new_epoch=False, first=FRESH_OWN),
    "plain": Case(publish(3), "resumed", "believed", numbers((1, 13)), new_epoch=False, server="plain"),
    "evicted": Case(
        steps(publish(5), fault("evict", keep=2)), "gap", "forgotten", numbers((1, 10), (14, 15)), to=4, missing=3
    ),
    "evicted-own-ids": Case(  # ``connected`` has an id too: the number of missing events is unknown
        steps(publish(5), fault("evict", keep=2)),
        "gap", "forgotten", numbers((1, 10), (14, 15)), to=None, first=FRESH_OWN
    ),
    "evicted-opaque": Case(
        steps(publish(5), fault("evict", keep=2)),
        "gap", "not_recognised", numbers((1, 10), (14, 15)), to=None, first=UUID
    ),
    "evicted-up-to-ours": Case(
        steps(publish(3), fault("evict", keep=3)), "resumed", "known_forgotten", numbers((1, 13)), to=1, missing=0
    ),
    "emptied": Case(
        fault("evict", keep=0), "resumed", "known_forgotten", numbers((1, 12)), to=1, missing=0, after=publish(2)
    ),
    "fresh-ids-below-ours": Case(
        steps(fault("evict", keep=4), fault("restart", ids="fresh"), publish(2)),
        "reset", "ids_started_over", numbers((1, 10), (7, 13)), to="7", after=publish(1), then="nothing_before",
    ),
    "fresh-and-empty": Case(
        steps(FORGETFUL, publish(2)), "reset", "ids_started_over", numbers((1, 13)), to="3", after=publish(1),
        then="nothing_before",
    ),
    "fresh-beyond-ours": Case(
        steps(FORGETFUL, publish(40)), "reset", "ids_started_over", numbers((1, 50)), then="nothing_before"
    ),
    "live-only": Case(  # its ``connected`` has the newest id: the number of missing events is unknown
        steps(fault("replay", start="live", times=1), publish(3)),
        "gap", "forgotten", numbers((1, 10), (14, 14)), to=4, after=publish(1),
    ),
    "from-its-start": Case(
        steps(fault("replay", start="oldest", times=1), publish(3)),
        "reset", "ids_started_over", numbers((1, 10), (1, 13)), to="1",
    ),
    "refused": Case(steps(fault("status", status=410, times=3), publish(3)), *PROVED, new_epoch=False),
    "no-ids": Case(
        steps(fault("replay", start="live"), publish(3)), "unresumable", "no_ids", numbers((1, 10), (14, 14)),
        first=fault("ids", scheme="none"), after=publish(1), server="lax",
    ),
}  # fmt: skip


RECOGNISED = replace(
    CASES["from-its-start"], kind="resumed", reason="replay_proved", received=numbers((1, 13)), to=0, new_epoch=False
)
"""The same process knows all the events that come again; a new one knows only the last."""
OPAQUE = {name for name, case in CASES.items() if case.first is UUID}
"""An id that is not a number shows that the server may not have known the start id 0."""


class Scene(NamedTuple):
    """The sessions, their server and the bridge."""

    sessions: Mapping[str, Session]
    mix: MixServer
    bridge: Bridge

    def streams(self) -> bool:
        """Whether every session has a stream."""
        return Counter(one["state"] for one in status(self.bridge)["sessions"]) == {"streaming": len(CASES)}


@contextmanager
def cut(scene: Scene, _settled: Callable[[], None]) -> Iterator[None]:
    """The streams end, and for a while the server refuses new ones."""
    refusal = scene.mix.fault("status", status=503)
    scene.mix.fault("disconnect")
    wait_until(lambda: not any(one["state"] == "streaming" for one in status(scene.bridge)["sessions"]))
    yield
    scene.mix.clear(refusal)


@contextmanager
def stopped(scene: Scene, _settled: Callable[[], None]) -> Iterator[None]:
    """The bridge shuts down gracefully."""
    assert scene.bridge.terminate() == 0
    yield
    scene.bridge.start()


@contextmanager
def killed(scene: Scene, settled: Callable[[], None]) -> Iterator[None]:
    """The bridge is killed after everything is checkpointed: then its records equal those of a graceful shutdown."""
    settled()
    scene.bridge.kill()
    yield
    scene.bridge.start()


@dataclass
class Consumer:
    """A consumer of the events topic."""

    kafka: str
    namespace: str
    last: dict[str, str] = field(default_factory=dict)
    """The last known id of each session at the interruption."""
    numbers: dict[str, int] = field(default_factory=dict)
    """The sequence of each session at that time."""

    def follower(self) -> Follower:
        """A consumer that follows the rule and has read everything."""
        return follow(events(self.kafka, self.namespace))

    def received(self) -> dict[str, list[int]]:
        """The received events of each session, without those about other sessions."""
        keys = self.follower().by_key()
        return {
            name: [_text(one.data) for one in keys.get(_key(name), []) if one.event == "mix.content"] for name in CASES
        }

    def wait_received(self, expected: Mapping[str, Sequence[int]]) -> None:
        """Return when each session has exactly these events."""

        def differing() -> dict[str, list[int]]:
            return {name: received for name, received in self.received().items() if received != expected[name]}

        try:
            wait_until(lambda: not differing(), interval=0.2)
        except AssertionError:
            found = differing()
            assert found == {name: expected[name] for name in found}

    def settled(self) -> None:
        """Return when everything is checkpointed."""

        def done() -> bool:
            accepted = self.follower().by_key()
            written = {name: last_checkpoint(self.kafka, self.namespace, name, CASES[name].server) for name in CASES}
            return all(accepted[_key(name)][-1].sequence == one.get("sequence") for name, one in written.items())

        wait_until(done, what="checkpoints", interval=0.1)

    def note(self, mix: MixServer) -> None:
        """Keep the position of each session."""
        journal, accepted = mix.journal(), self.follower().by_key()
        for name in CASES:
            self.last[name] = journal[name][-1].id or "0"
            self.numbers[name] = accepted[_key(name)][-1].sequence


def _key(name: str) -> str:
    return f"{CASES[name].server}/{name}"


def _text(data: bytes) -> int:
    return int(json.loads(data)["content"])


def _chosen(kafka: str, namespace: str, url: str) -> dict[str, object]:
    """One server under three names: with the defaults, without overlap, and accepted without ids."""
    own: dict[str, dict[str, object]] = {"local": {}, "plain": {"overlap": False}, "lax": {"without_ids": "accept"}}
    more: dict[str, object] = dict(BY_THE_BROKER)
    for server, keys in own.items():
        names = ",".join(name for name, case in CASES.items() if case.server == server)
        common = {"url": url, "sessions": names, "discover": False, "reconnect_min": "50ms", "reconnect_max": "200ms"}
        common["gone_after"] = 0  # three refusals are enough
        more |= {f"servers.{server}.{key}": value for key, value in {**common, **keys}.items()}
    return settings(kafka, namespace, url, more)


@pytest.mark.parametrize("interruption", [cut, stopped, killed])
def test_a_lifecycle_record_describes_each_interruption(
    kafka: str, namespace: str, tmp_path: Path, interruption: Callable[..., Iterator[None]]
) -> None:
    """The same type, reason, ids, number of missing events and epoch after a cut, stop and kill, except in one case."""
    cases = {**CASES, "from-its-start": RECOGNISED} if interruption.__name__ == "cut" else CASES
    consumer = Consumer(kafka, namespace)
    options = ("--sessions", 0, "--heartbeat", 0.3, "--retry", 20)
    with MixServer(tmp_path / "mix", *options) as mix:
        sessions = {name: _speaker(mix, name) for name in CASES}
        with bridged(tmp_path, _chosen(kafka, namespace, mix.url)) as bridge:
            scene = Scene(sessions, mix, bridge)
            _act(sessions, {name: publish(10) for name in CASES})
            consumer.wait_received(dict.fromkeys(CASES, numbers((1, 10))))
            consumer.note(mix)
            with interruption(scene, consumer.settled):  # type: ignore[attr-defined]
                _act(sessions, {name: case.meanwhile for name, case in CASES.items()})
            wait_until(scene.streams, what=f"streams, see {bridge.log}", interval=0.05)
            _act(sessions, {name: case.after for name, case in CASES.items()})
            consumer.wait_received({name: case.received for name, case in cases.items()})
    assert consumer.received() == {name: list(case.received) for name, case in cases.items()}
    _check(consumer, cases)
    verified = command(["verify", "--json"], _chosen(kafka, namespace, "http://unknown.invalid"))
    assert verified.returncode == 0, verified.stdout + verified.stderr


def _speaker(mix: MixServer, name: str) -> Session:
    mix.post("/control/sessions", {"id": name, "rate": 0})
    session = Session(mix, name)
    CASES[name].first(session)
    return session


def _act(sessions: Mapping[str, Session], acts: Mapping[str, Act]) -> None:
    for name, act in acts.items():
        act(sessions[name])


def _check(consumer: Consumer, cases: Mapping[str, Case]) -> None:
    lifecycle, records = lifecycles(consumer.kafka, consumer.namespace), events(consumer.kafka, consumer.namespace)
    for name, case in cases.items():
        own = [one for one in lifecycle[_key(name)] if one.reason != "start_id_unknown"]
        assert len(lifecycle[_key(name)]) - len(own) == (name in OPAQUE)
        expected = [("attached", "new_session"), (case.kind, case.reason)]
        if case.then is not None:
            expected.append(("resumed", case.then))
        assert [(one.kind, one.reason) for one in own] == expected, name
        _check_one(name, case, own[:2], consumer)
        assert_true(own, (one for one in records if one.key == _key(name).encode()))
        _check_epochs(own, (one.epoch for one in consumer.follower().by_key()[_key(name)]))


def _check_one(name: str, case: Case, own: Sequence[LifecycleRecord], consumer: Consumer) -> None:
    attached, record = own
    last = consumer.last[name]
    to = str(int(last) + case.to) if isinstance(case.to, int) and case.to else case.to or last
    assert (record.epoch, record.sequence) == (attached.epoch, consumer.numbers[name]), name
    assert record.data["from_last_event_id"] == last, name
    assert case.to is None or record.data["to_last_event_id"] == to, (name, record)
    assert record.data["missing"] == case.missing, (name, record)
    assert (record.new_epoch is not None) == case.new_epoch, (name, record)


def _check_epochs(own: Sequence[LifecycleRecord], epochs: Iterable[int]) -> None:
    """An epoch without a lifecycle record would be an unreported gap."""
    known = {own[0].epoch} | {one.new_epoch for one in own if one.new_epoch is not None}
    assert set(epochs) == known
