"""The owners of shards, as real processes on a real Kafka: started, stopped, killed, paused, resumed, restarted.

All scenarios run side by side, because they mostly wait for session time-outs; each test checks the result of one.
"""

from __future__ import annotations

import json
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Consumer

from bridge.clock import monotonic
from bridge.errors import EXIT_FATAL, EXIT_OK, EXIT_SETTINGS
from tests.support.processes import spawn
from tests.support.repository import REPOSITORY
from tests.support.topics import create_topic, delete_topics
from tests.support.waiting import TIMEOUT, wait_until

pytestmark = pytest.mark.kafka

SHARDS = frozenset(range(4))
SESSION = 4.0
_INTERVAL = 0.05


class Line(NamedTuple):
    """One line that a member printed."""

    at: float
    what: str
    shards: frozenset[int]
    more: dict[str, Any]


class Process:
    """One member as a process of its own."""

    def __init__(self, folder: Path, name: str, orders: dict[str, Any]) -> None:
        self.name, self.ended_at = name, float("inf")
        self._out = folder / f"{name}-{uuid.uuid4().hex[:6]}.out"
        self.log = self._out.with_suffix(".log")
        command = [sys.executable, "-m", "tests.support.member", json.dumps(orders)]
        self._process = spawn(command, log=self.log, stdout=self._out, cwd=REPOSITORY)
        self.started_at = monotonic()

    def lines(self, *what: str) -> list[Line]:
        """The lines that it printed, or those of these kinds."""
        printed = [json.loads(line) for line in self._out.read_text().splitlines() if line.endswith("}")]
        found = (Line(each["at"], each["what"], frozenset(each.get("shards", ())), each) for each in printed)
        return [line for line in found if not what or line.what in what]

    @property
    def owned(self) -> frozenset[int]:
        """The shards that it has now, by its own lines."""
        owned: frozenset[int] = frozenset()
        for line in self.lines("assigned", "released", "lost"):
            owned = owned | line.shards if line.what == "assigned" else owned - line.shards
        return owned

    def proofs_between(self, start: float, end: float) -> list[Line]:
        """The successful proofs in that time."""
        return [line for line in self.lines("proof") if line.more["proven"] and start <= line.at <= end]

    def wait(self, is_so: Callable[[Process], object], what: str) -> float:
        """Wait until it is so; returns the time."""
        wait_until(lambda: is_so(self), what=f"{what} of {self.name}, see {self.log}", interval=_INTERVAL)
        return monotonic()

    def wait_owns(self, count: int) -> frozenset[int]:
        """Wait until it has so many shards; returns them."""
        self.wait(lambda process: len(process.owned) == count, f"{count} shards")
        return self.owned

    def send(self, number: signal.Signals) -> float:
        self._process.send_signal(number)
        return monotonic()

    def ended(self) -> int:
        """Wait until it ends by itself; returns the exit code."""
        code = self._process.wait(TIMEOUT)
        self.ended_at = monotonic()
        return code

    def kill(self) -> float:
        """Send SIGKILL; returns the time."""
        self._process.kill()
        self._process.wait()
        self.ended_at = monotonic()
        return self.ended_at

    @property
    def failure(self) -> str:
        """The error with which it ended."""
        return next((str(line.more["text"]) for line in self.lines("failure")), "")


class Group:
    """The members of one group, with its own topic."""

    def __init__(self, kafka: str, folder: Path, name: str, partitions: int, session_timeout: float) -> None:
        self.topic = f"membership-{name}-{uuid.uuid4().hex[:8]}"
        self.members: list[Process] = []
        self._folder, self.kafka, self._partitions = folder, kafka, partitions
        self._session_timeout = session_timeout
        self.create()

    def create(self) -> None:
        """Create the topic, for the first time or again."""
        create_topic(self.kafka, self.topic, self._partitions, {"cleanup.policy": "compact"})

    def start(self, name: str, **orders: object) -> Process:
        chosen = {
            "bootstrap": self.kafka,
            "group": f"{self.topic}.bridge",
            "topic": self.topic,
            "partitions": len(SHARDS),
            "session_timeout": self._session_timeout,
            **orders,
        }
        self.members.append(Process(self._folder, name, chosen))
        return self.members[-1]

    def settled(self, *members: Process) -> None:
        """Wait until these members share all shards, each at least one."""
        wait_until(
            lambda: all(m.owned for m in members) and frozenset().union(*(m.owned for m in members)) == SHARDS,
            what=f"an assignment of all shards of {self.topic}",
            interval=_INTERVAL,
        )

    def overlaps(self) -> list[str]:
        """The times at which two processes had the same shard."""
        spans = [(shard, *span) for member in self.members for shard in SHARDS for span in _spans(member, shard)]
        return [
            f"shard {shard}: {name} until {end}, {other} from {begin}"
            for shard, start, end, name in spans
            for second, begin, _, other in spans
            if shard == second and name != other and start <= begin < end
        ]


def _spans(member: Process, shard: int) -> Iterator[tuple[float, float, str]]:
    name, start = f"{member.name} {member.started_at}", None
    for line in member.lines("assigned", "released", "lost"):
        if shard in line.shards and line.what == "assigned":
            start = line.at
        elif shard in line.shards and start is not None:
            yield start, line.at, name
            start = None
    if start is not None:
        yield start, member.ended_at, name


class Scene:
    def __init__(self, kafka: str, folder: Path) -> None:
        self.kafka, self._folder = kafka, folder
        self._groups: list[Group] = []

    def group(self, name: str, partitions: int = len(SHARDS), session_timeout: float = SESSION) -> Group:
        self._groups.append(Group(self.kafka, self._folder, name, partitions, session_timeout))
        return self._groups[-1]

    def end(self) -> None:
        for group in self._groups:
            for member in group.members:
                member.kill()


class Moves(NamedTuple):
    """The result with members that stop and are killed."""

    group: Group
    leave: float
    kill: float
    longest_silence: float
    codes: list[int]


def joined_stopped_and_killed(scene: Scene) -> Moves:
    group = scene.group("moves")
    first, second, third = (group.start(name, drain=1.5 if name == "second" else 0) for name in ("one", "second", "3"))
    group.settled(first, second, third)
    second.send(signal.SIGTERM)
    second.wait(lambda process: process.lines("released"), "the end of the release")
    began, released = second.lines("revoked")[-1].at, second.lines("released")[-1].at
    second_code = second.ended()
    group.settled(first, third)
    moved = max(line.at for member in (first, third) for line in member.lines("assigned") if line.at > released)
    killed_at = third.kill()
    first.wait_owns(len(SHARDS))
    took_over = first.lines("assigned")[-1].at
    first.wait(lambda process: process.proofs_between(took_over, monotonic()), "a proof")
    first.send(signal.SIGTERM)
    times = [began, *(proof.at for proof in second.proofs_between(began, released)), released]
    silence = max(later - earlier for earlier, later in pairwise(times))
    return Moves(group, moved - released, took_over - killed_at, silence, [second_code, first.ended()])


class Pause(NamedTuple):
    """The result with a member that was paused for longer than the session time-out."""

    group: Group
    paused: Process
    resumed_at: float


def paused_and_resumed(scene: Scene) -> Pause:
    group = scene.group("pause")
    paused = group.start("paused")
    paused.wait_owns(len(SHARDS))
    paused.wait(lambda process: process.lines("proof"), "a proof")
    paused.send(signal.SIGSTOP)
    other = group.start("other")
    other.wait_owns(len(SHARDS))
    resumed_at = paused.send(signal.SIGCONT)
    paused.wait(lambda process: process.lines("lost"), "the loss")
    group.settled(paused, other)
    paused.wait(lambda process: process.lines("proof")[-1].at > process.lines("assigned")[-1].at, "a new proof")
    return Pause(group, paused, resumed_at)


class Names(NamedTuple):
    """The result with members that have instance names."""

    group: Group
    stays: Process
    again: Process
    second: Process
    code: int
    paused: Process
    duplicate: Process


def named(scene: Scene) -> Names:
    group = scene.group("names", session_timeout=60.0)
    stays, restarts = group.start("stays", instance="pod-0"), group.start("killed", instance="pod-1")
    group.settled(stays, restarts)
    had = restarts.owned
    restarts.kill()
    again = group.start("again", instance="pod-1")
    assert again.wait_owns(len(had)) == had
    second = group.start("second", instance="pod-1")
    code = second.ended()
    again.send(signal.SIGTERM)
    assert again.ended() == EXIT_OK
    paused = group.start("paused", instance="pod-1")
    assert paused.wait_owns(len(had)) == had
    paused.wait(lambda process: process.lines("proof"), "a proof")
    paused.send(signal.SIGSTOP)
    duplicate = group.start("duplicate", instance="pod-1")
    assert duplicate.wait_owns(len(had)) == had
    duplicate.wait(lambda process: process.lines("proof"), "a proof")
    paused.send(signal.SIGCONT)
    assert paused.ended() == EXIT_SETTINGS
    return Names(group, stays, again, second, code, paused, duplicate)


class Fence(NamedTuple):
    """The result with a member whose name was fenced by a request that no process stands for any more."""

    member: Process
    fenced_at: float
    code: int


def fenced_by_nobody(scene: Scene) -> Fence:
    group = scene.group("fence")
    member = group.start("fenced", instance="pod-1")
    member.wait_owns(len(SHARDS))
    member.wait(lambda process: process.lines("proof"), "a proof")
    fenced_at = monotonic()
    _join_and_end(scene.kafka, group.topic, "pod-1")
    member.wait(lambda process: process.lines("lost"), "the loss")
    member.wait_owns(len(SHARDS))
    back_at = monotonic()
    member.wait(lambda process: process.proofs_between(back_at, monotonic()), "a proof after the fence")
    member.send(signal.SIGTERM)
    return Fence(member, fenced_at, member.ended())


def _join_and_end(kafka: str, topic: str, instance: str) -> None:
    """As an earlier client of the same process whose requests come late: the group has its member id, it is gone."""
    config = {
        "bootstrap.servers": kafka,
        "group.id": f"{topic}.bridge",
        "group.instance.id": instance,
        "partition.assignment.strategy": "cooperative-sticky",
    }
    late = Consumer(config)
    late.subscribe([topic])
    wait_until(lambda: late.poll(0.05) or late.assignment(), what="the late request", interval=0)
    late.close()


class Stuck(NamedTuple):
    """The result with members whose clients are stuck: the first one, and all of them."""

    replaced: Process
    given_up: Process
    codes: list[int]


def stuck_clients(scene: Scene) -> Stuck:
    group = scene.group("stuck")
    other = group.start("other")
    other.wait_owns(len(SHARDS))
    # The new client has twice this time for its first request, also on a busy machine.
    replaced = group.start("replaced", stuck=1, watch_interval=2.5, config={"client.id": "replaced"})
    given_up = group.start("given-up", stuck=9, watch_interval=0.5)
    group.settled(other, replaced)
    code = given_up.ended()
    replaced.send(signal.SIGTERM)
    return Stuck(replaced, given_up, [replaced.ended(), code])


class Topics(NamedTuple):
    """The result with topics that change."""

    member: Process
    foreign: Process
    code: int
    gone: tuple[float, float]


def topics_changed(scene: Scene) -> Topics:
    group = scene.group("topics", partitions=6)
    member = group.start("member")
    member.wait_owns(len(SHARDS))
    member.wait(lambda process: process.lines("proof"), "a proof")
    other = scene.group("other")
    foreign = other.start("foreign", group=f"{group.topic}.bridge", session_timeout=1.0)
    code = foreign.ended()
    delete_topics(scene.kafka, group.topic)
    gone_at = monotonic()
    group.create()
    back_at = monotonic()
    member.wait(lambda process: process.proofs_between(back_at, monotonic()), "a proof on the new topic")
    return Topics(member, foreign, code, (gone_at, back_at))


SCENARIOS = (joined_stopped_and_killed, paused_and_resumed, named, fenced_by_nobody, stuck_clients, topics_changed)


@pytest.fixture(scope="module")
def fleet(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Any]]]:
    """Every running scenario, by name."""
    scene = Scene(kafka, tmp_path_factory.mktemp("membership"))
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        yield {scenario.__name__: pool.submit(scenario, scene) for scenario in SCENARIOS}
    scene.end()


def result_of(scenario: Callable[[Scene], Any]) -> Any:
    return pytest.fixture(scope="module")(lambda fleet: fleet[scenario.__name__].result())


moves, pause, names, fence, stuck, topics = map(result_of, SCENARIOS)


def test_shards_of_a_member_that_leaves_move_immediately(moves: Moves) -> None:
    print(f"leave: {moves.leave:.2f} s")  # well under a second without the other tests
    assert moves.leave < SESSION - 1.0
    assert moves.codes == [EXIT_OK, EXIT_OK]


def test_shards_of_a_killed_member_move_after_the_session_timeout(moves: Moves) -> None:
    print(f"kill: {moves.kill:.2f} s")
    assert SESSION - 1.0 < moves.kill < SESSION + 2.0


def test_membership_is_proven_while_shards_are_released(moves: Moves) -> None:
    assert moves.longest_silence < 1.0


def test_no_shard_ever_has_two_owners(moves: Moves) -> None:
    assert moves.group.overlaps() == []


def test_a_member_that_was_paused_too_long_gets_no_proof_before_it_notices(pause: Pause) -> None:
    """It notices the loss first, and then joins again by itself."""
    lost_at = pause.paused.lines("lost")[0].at
    assert lost_at < pause.resumed_at + 2.0
    assert pause.paused.proofs_between(pause.resumed_at, lost_at) == []
    again = [line for line in pause.paused.lines("assigned") if line.at > lost_at]
    assert again
    assert pause.paused.proofs_between(again[0].at, monotonic())


def test_a_named_member_that_was_killed_gets_its_shards_back_immediately(names: Names) -> None:
    """No other member notices, and the restart does not wait for the session time-out."""
    took = names.again.lines("assigned")[0].at - names.again.started_at
    print(f"restart under a name after a kill: {took:.2f} s, with the start of the interpreter")
    joined = names.again.lines("assigned")[0].at - names.again.lines("started")[0].at
    print(f"of that from the start of membership: {joined:.2f} s")
    assert joined < 10.0  # of the 60 s of this group's session time-out
    # Every member may get an empty assignment.
    assert [line for line in names.stays.lines("assigned", "revoked", "lost")[2:] if line.shards] == []
    assert not names.stays.lines("lost")


def test_a_second_process_of_one_name_ends_and_disturbs_no_member(names: Names) -> None:
    assert names.code == EXIT_SETTINGS
    pid = names.again.lines()[0].more["pid"]
    assert f"instance: another process, pod-1:{pid} at 127.0.0.1 runs under the name pod-1" in names.second.failure
    assert names.again.lines("lost") == []
    assert names.second.lines("assigned") == []


def test_a_member_that_was_replaced_while_it_was_paused_loses_all_shards_and_ends(names: Names) -> None:
    """Its error names the process that replaced it."""
    assert names.paused.lines("lost")
    assert f"pod-1:{names.duplicate.lines()[0].more['pid']}" in names.paused.failure
    assert names.duplicate.lines("lost") == []


def test_a_member_that_was_fenced_although_nobody_has_its_name_joins_again(fence: Fence) -> None:
    """It does not end: what it read waits in memory meanwhile."""
    lost, back = fence.member.lines("lost")[-1], fence.member.lines("assigned")[-1]
    print(f"back {back.at - fence.fenced_at:.1f} s after a late request fenced its name")
    assert lost.at < back.at
    assert fence.member.proofs_between(lost.at, back.at) == []
    assert fence.code == EXIT_OK


def test_a_client_that_the_group_does_not_list_is_replaced_and_then_given_up(stuck: Stuck) -> None:
    """A stuck client loses its shards to the session time-out, so nothing else would notice it."""
    assert stuck.codes == [EXIT_OK, EXIT_FATAL]
    assert stuck.replaced.lines("assigned")
    assert "answers no client of this process, but others" in stuck.given_up.failure


def test_a_group_of_another_topic_is_refused(topics: Topics) -> None:
    assert topics.code == EXIT_SETTINGS
    assert topics.foreign.failure.startswith("namespace: ")
    assert topics.foreign.lines("assigned") == []


def test_partitions_beyond_the_shards_are_logged_and_ignored(topics: Topics) -> None:
    assert topics.member.lines("assigned")[0].shards == SHARDS
    assert "partitions were added to the checkpoints topic" in topics.member.log.read_text()


def test_a_recreated_topic_keeps_its_owners(topics: Topics) -> None:
    assert topics.member.proofs_between(topics.gone[1], monotonic())
    assert topics.member.lines("lost") == []
