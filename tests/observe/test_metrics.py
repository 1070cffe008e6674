"""The metrics, read back with Prometheus' own parser."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from bridge.core.snapshot import BridgeSnapshot, Counters, ServerSnapshot, SessionSnapshot, TopicSnapshot
from bridge.observe import metrics
from bridge.observe.metrics import Metrics
from tests.fakes import snapshots

SNAPSHOT = replace(
    snapshots.WELL,
    buffer_bytes=10,
    checkpoints_written=5,
    kafka_last_answer_age=1.5,
    sessions=(
        SessionSnapshot("local", "secret-1", "streaming", in_flight=2, counters=Counters(received=3)),
        SessionSnapshot("local", "secret-2", "streaming", in_flight=1, counters=Counters(dead_letters={"schema": 4})),
        SessionSnapshot("local", "secret-3", "waiting"),
        SessionSnapshot("far", "secret-4", "streaming"),
    ),
    servers={
        "local": ServerSnapshot(reachable=True, last_discovery_age=2.0, listed=9, not_bridged=6),
        "far": ServerSnapshot(reachable=False),
    },
    loops={"poll": 0.5},
)
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(snapshot: BridgeSnapshot) -> Samples:
    """Every sample by name and sorted labels."""
    text = Metrics(lambda: snapshot).render().decode()
    families = text_string_to_metric_families(text)
    return {(each.name, tuple(sorted(each.labels.items()))): each.value for fam in families for each in fam.samples}


def value(samples: Samples, name: str, **labels: str) -> float:
    """One sample."""
    return samples[f"mix_bridge_{name}", tuple(sorted(labels.items()))]


def test_every_name_begins_with_mix_bridge_and_follows_the_conventions() -> None:
    """Base units, lower case, and the process's own metrics under the prefix too."""
    names = {name for name, _ in scrape(SNAPSHOT)}
    assert all(re.fullmatch(r"mix_bridge_[a-z0-9_]+", name) for name in names)
    assert {"mix_bridge_process_resident_memory_bytes", "mix_bridge_process_cpu_seconds_total"} <= names
    assert {"mix_bridge_process_open_fds", "mix_bridge_process_start_time_seconds"} <= names


def test_no_label_holds_a_session_id() -> None:
    """Labels have few values."""
    assert b"secret" not in Metrics(lambda: SNAPSHOT).render()


def test_sessions_are_counted_by_server_and_state() -> None:
    """A gauge per server and state, and the records in flight per server."""
    samples = scrape(SNAPSHOT)
    assert value(samples, "sessions", server="local", state="streaming") == 2
    assert value(samples, "sessions", server="local", state="waiting") == 1
    assert value(samples, "sessions", server="far", state="streaming") == 1
    assert value(samples, "records_in_flight", server="local") == 3
    assert value(samples, "records_in_flight", server="far") == 0


def test_the_state_of_bridge_kafka_and_servers_is_exported() -> None:
    """As gauges."""
    samples = scrape(SNAPSHOT)
    assert value(samples, "info", version="1.2.3", namespace="mix") == 1
    assert value(samples, "checkpoints_written_total") == 5
    assert value(samples, "buffer_bytes") == 10
    assert value(samples, "buffer_limit_bytes") == 100
    assert value(samples, "restored") == 1
    assert value(samples, "kafka_answer_age_seconds") == 1.5
    assert value(samples, "loop_age_seconds", loop="poll") == 0.5
    assert value(samples, "server_reachable", server="local") == 1
    assert value(samples, "server_reachable", server="far") == 0
    assert value(samples, "discovery_age_seconds", server="local") == 2
    assert value(samples, "sessions_listed", server="local") == 9
    assert value(samples, "sessions_not_bridged", server="local") == 6


def test_a_kafka_that_never_answered_is_infinitely_silent() -> None:
    """An alert on a threshold sees it, which an absent sample would hide."""
    assert value(scrape(replace(SNAPSHOT, kafka_last_answer_age=None)), "kafka_answer_age_seconds") == math.inf


def test_a_server_without_discovery_has_no_discovery_age() -> None:
    """No number could describe it."""
    assert ("mix_bridge_discovery_age_seconds", (("server", "far"),)) not in scrape(SNAPSHOT)


def test_counters_keep_their_value_when_a_session_ends() -> None:
    """The counts of an ended session stay in its server's numbers."""
    before = scrape(SNAPSHOT)
    ended = Counters.total(each.counters for each in SNAPSHOT.sessions if each.server == "local")
    servers = {"local": ServerSnapshot(reachable=True, ended=ended)}
    after = scrape(replace(SNAPSHOT, sessions=(), servers=servers))
    for samples in (before, after):
        assert value(samples, "events_received_total", server="local") == 3
        assert value(samples, "dead_letters_total", server="local", reason="schema") == 4


def test_every_counter_of_the_snapshot_has_a_metric() -> None:
    """A counter that somebody adds to the snapshot is not forgotten here."""
    assert {each.field for each in metrics._PER_SERVER} | {"dead_letters"} == {each.name for each in fields(Counters)}


def test_counters_and_reasons_exist_from_the_start() -> None:
    """The first dead letter of a reason is a rise from zero, so ``increase()`` sees it."""
    samples = scrape(SNAPSHOT)
    for reason in ("invalid_json", "schema", "unknown_event", "oversize", "rejected"):
        assert value(samples, "dead_letters_total", server="far", reason=reason) == 0
    for each in metrics._PER_SERVER:
        assert value(samples, f"{each.name}_total", server="far") == 0


def test_the_global_registry_is_left_alone() -> None:
    """Two bridges in one process, or another library's metrics, do not meet."""
    Metrics(lambda: SNAPSHOT)
    Metrics(lambda: SNAPSHOT)
    assert not any(family.name.startswith("mix_bridge") for family in REGISTRY.collect())


def test_no_snapshot_is_taken_before_the_first_scrape() -> None:
    """Metrics are set up before the daemon has a snapshot."""
    taken: list[int] = []

    def snapshot() -> BridgeSnapshot:
        taken.append(1)
        return SNAPSHOT

    made = Metrics(snapshot)
    assert not taken
    made.render()
    assert taken == [1]


def test_topics_with_problems_and_their_changes_are_exported() -> None:
    """A gauge to alert on, and a counter of each kind."""
    topics = (
        TopicSnapshot("mix.events", 8, "compacted", changes={"recreated": 1, "limit": 0}),
        TopicSnapshot("mix.tools", 8),
    )
    samples = scrape(replace(SNAPSHOT, topics=topics))
    assert value(samples, "topic_trouble", topic="mix.events") == 1
    assert value(samples, "topic_trouble", topic="mix.tools") == 0
    assert value(samples, "topic_changes_total", topic="mix.events", change="recreated") == 1
    assert value(samples, "topic_changes_total", topic="mix.events", change="limit") == 0
