"""The metrics, read back with Prometheus' own parser."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import fields, replace

from prometheus_client import REGISTRY, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from bridge.core.durations import Durations, Histogram
from bridge.core.snapshot import (
    BridgeSnapshot,
    Counters,
    KafkaClientSnapshot,
    Replica,
    ServerSnapshot,
    SessionSnapshot,
    ShardSnapshot,
    TopicSnapshot,
)
from bridge.daemon.session_states import State
from bridge.observe.metrics.collector import Metrics
from bridge.observe.metrics.family import Scrape
from bridge.observe.metrics.of_servers import PER_SERVER
from bridge.observe.metrics.page import as_markdown
from tests.fakes import snapshots
from tests.support.promtool import promtool
from tests.support.repository import REPOSITORY

NOW = 1_800_000_000
SNAPSHOT = replace(
    snapshots.WELL,
    buffer_bytes=10,
    checkpoints_written=5,
    kafka_last_answer_age=1.5,
    taken_at_ms=NOW * 1000,
    sessions=(
        SessionSnapshot("local", "secret-1", "streaming", in_flight=2, counters=Counters(received=3)),
        SessionSnapshot("local", "secret-2", "streaming", in_flight=1, counters=Counters(dead_letters={"schema": 4})),
        SessionSnapshot("local", "secret-3", "waiting"),
        SessionSnapshot("far", "secret-4", "streaming"),
    ),
    servers={
        "local": ServerSnapshot(
            reachable=True, discovers=True, last_discovery_age=2.0, listed=9, entries_skipped=3, not_bridged=6
        ),
        "far": ServerSnapshot(reachable=False),
    },
    loops={"poll": 0.5},
)
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(snapshot: BridgeSnapshot) -> Samples:
    text = Metrics(lambda: snapshot).render().body.decode()
    families = text_string_to_metric_families(text)
    return {(each.name, tuple(sorted(each.labels.items()))): each.value for fam in families for each in fam.samples}


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"mix_bridge_{name}", tuple(sorted(labels.items()))]


def test_every_name_begins_with_mix_bridge_and_follows_the_conventions() -> None:
    """Base units, lower case, and the process's own metrics under the prefix too."""
    names = {name for name, _ in scrape(SNAPSHOT)}
    assert all(re.fullmatch(r"mix_bridge_[a-z0-9_]+", name) for name in names)
    assert {"mix_bridge_process_resident_memory_bytes", "mix_bridge_process_cpu_seconds_total"} <= names
    assert {"mix_bridge_process_open_fds", "mix_bridge_process_start_time_seconds"} <= names


def test_no_label_holds_a_session_id() -> None:
    assert b"secret" not in Metrics(lambda: SNAPSHOT).render().body


def test_sessions_are_counted_by_server_and_state() -> None:
    """A gauge per server and state, and the records in flight per server."""
    samples = scrape(SNAPSHOT)
    assert value(samples, "sessions", server="local", state="streaming") == 2
    assert value(samples, "sessions", server="local", state="waiting") == 1
    assert value(samples, "sessions", server="far", state="streaming") == 1
    assert value(samples, "records_in_flight", server="local") == 3
    assert value(samples, "records_in_flight", server="far") == 0


def test_the_state_of_bridge_kafka_and_servers_is_exported() -> None:
    samples = scrape(SNAPSHOT)
    assert value(samples, "info", version="1.2.3", namespace="mix") == 1
    assert value(samples, "checkpoints_written_total") == 5
    assert value(samples, "buffer_bytes") == 10
    assert value(samples, "buffer_limit_bytes") == 100
    assert value(samples, "restored") == 1
    assert value(samples, "kafka_last_answer_timestamp_seconds") == NOW - 1.5
    assert value(samples, "last_heartbeat_timestamp_seconds", loop="poll") == NOW - 0.5
    assert value(samples, "server_reachable", server="local") == 1
    assert value(samples, "server_reachable", server="far") == 0
    assert value(samples, "last_discovery_timestamp_seconds", server="local") == NOW - 2
    assert value(samples, "sessions_listed", server="local") == 9
    assert value(samples, "sessions_not_bridged", server="local") == 6
    assert value(samples, "list_entries_skipped", server="local") == 3


def test_what_never_happened_has_the_time_zero() -> None:
    """``time() - 0`` is above every threshold: an alert sees it, which an absent sample would hide."""
    samples = scrape(replace(SNAPSHOT, kafka_last_answer_age=None, last_checkpoint_ms=None))
    assert value(samples, "kafka_last_answer_timestamp_seconds") == 0
    assert value(samples, "last_checkpoint_timestamp_seconds") == 0
    polled = replace(SNAPSHOT, servers={"far": ServerSnapshot(reachable=False, discovers=True)})
    assert value(scrape(polled), "last_discovery_timestamp_seconds", server="far") == 0


def test_a_server_without_discovery_has_no_time_of_a_list() -> None:
    """No number could describe it."""
    assert ("mix_bridge_last_discovery_timestamp_seconds", (("server", "far"),)) not in scrape(SNAPSHOT)


def test_the_oldest_unacknowledged_event_of_each_server_is_exported() -> None:
    """Absent when everything is acknowledged: there is no time to show."""
    read_at = [NOW * 1000 - 7000, NOW * 1000 - 9000, None, None]
    pairs = zip(SNAPSHOT.sessions, read_at, strict=True)
    sessions = tuple(replace(each, oldest_unacknowledged_ms=at) for each, at in pairs)
    samples = scrape(replace(SNAPSHOT, sessions=sessions))
    assert value(samples, "oldest_unacknowledged_timestamp_seconds", server="local") == NOW - 9
    assert ("mix_bridge_oldest_unacknowledged_timestamp_seconds", (("server", "far"),)) not in samples


def test_durations_are_histograms() -> None:
    """Buckets are cumulative, ``_sum`` is in seconds, and a batch counts as many times as it has records."""
    durations, reconnects = Durations(["local"]), Histogram((0.5, 2.0))
    durations.publish_of("local").observe(0.002, 3)
    durations.publish_of("local").observe(100.0)
    durations.publish_of("local").observe(-1.0)  # the wall clock was set back
    durations.commit.observe(0.02)
    durations.restore.observe(0.2)
    reconnects.observe(1.0)
    servers = {"local": ServerSnapshot(reachable=True, reconnects=reconnects.snapshot())}
    samples = scrape(replace(SNAPSHOT, durations=durations.snapshot(), servers=servers))
    buckets = {le: value(samples, "publish_latency_seconds_bucket", server="local", le=le) for le in ("0.001", "0.003")}
    assert buckets == {"0.001": 1, "0.003": 4}
    assert value(samples, "publish_latency_seconds_bucket", server="local", le="60.0") == 4
    assert value(samples, "publish_latency_seconds_bucket", server="local", le="+Inf") == 5
    assert value(samples, "publish_latency_seconds_count", server="local") == 5
    assert round(value(samples, "publish_latency_seconds_sum", server="local"), 6) == 100.006
    assert value(samples, "reconnect_duration_seconds_bucket", server="local", le="2.0") == 1
    assert value(samples, "commit_duration_seconds_count") == 1
    assert value(samples, "restore_duration_seconds_count") == 1


def test_readiness_and_its_checks_are_exported() -> None:
    assert value(scrape(SNAPSHOT), "ready") == 1
    silent = scrape(replace(SNAPSHOT, kafka_last_answer_age=60.0))
    assert value(silent, "ready") == 0
    assert value(silent, "check_ok", check="kafka") == 0
    assert value(silent, "check_ok", check="restore") == 1


def test_shards_versions_and_log_lines_are_exported() -> None:
    """What an operator compares between replicas."""
    replica = Replica(
        shard_count=8, assignments=5, shards=(ShardSnapshot(1, "restoring", None, 0), ShardSnapshot(2, "owned", 4, 3))
    )
    build = {"version": "1.2.3", "python": "3.11.2", "librdkafka": "2.11.1"}
    samples = scrape(
        replace(SNAPSHOT, replica=replica, build=build, settings_sha256="abc", log_lines={"info": 3, "error": 1})
    )
    assert value(samples, "namespace_shards") == 8
    assert value(samples, "shards", state="owned") == 1
    assert value(samples, "shards", state="restoring") == 1
    assert value(samples, "assignments_total") == 5
    assert value(samples, "build_info", **build) == 1
    assert value(samples, "settings_info", sha256="abc") == 1
    assert value(samples, "log_lines_total", level="error") == 1
    assert value(samples, "log_lines_total", level="critical") == 0
    assert value(scrape(SNAPSHOT), "shards", state="owned") == 0


def test_brokers_and_queues_are_exported() -> None:
    """Several producers are connected to one broker: its slowest figures count."""
    clients = (
        KafkaClientSnapshot("events", 7, 900, (snapshots.BROKER,)),
        KafkaClientSnapshot("shards", 1, 50, (replace(snapshots.BROKER, is_connected=False, round_trip=0.004),)),
    )
    samples = scrape(replace(SNAPSHOT, kafka_clients=clients))
    assert value(samples, "kafka_queued_records", client="events") == 7
    assert value(samples, "kafka_queued_bytes", client="shards") == 50
    assert value(samples, "kafka_broker_connected", broker="a:9092") == 1
    assert value(samples, "kafka_round_trip_seconds", broker="a:9092") == 0.004
    assert value(samples, "kafka_round_trip_p99_seconds", broker="a:9092") == 0.03


def test_a_server_has_at_most_sixty_series() -> None:
    """Also with sessions in every state."""
    sessions = tuple(
        SessionSnapshot("local", f"s-{state.value}", state.value, oldest_unacknowledged_ms=1) for state in State
    )
    snapshot = replace(SNAPSHOT, sessions=sessions, durations=Durations(["local"]).snapshot())
    counts = Counter(dict(labels).get("server") for _, labels in scrape(snapshot))
    assert 50 < counts["local"] <= 60


def test_open_metrics_for_those_who_ask() -> None:
    """With its own content type, its end mark, and the same samples."""
    metrics = Metrics(lambda: SNAPSHOT)
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4"
    body, content_type = metrics.render(accept)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    families = parse_openmetrics(body.decode())  # type: ignore[no-untyped-call]
    names = {each.name for family in families for each in family.samples}
    assert {name for name, _ in scrape(SNAPSHOT)} <= names
    assert metrics.render("text/plain").content_type.startswith("text/plain; version=0.0.4")


def test_names_follow_the_conventions_of_prometheus() -> None:
    """By promtool's own linter: base units, suffixes, help texts."""
    body = Metrics(lambda: SNAPSHOT).render().body + generate_latest(snapshots.of_two_workers())
    done = promtool("check", "metrics", stdin=body)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_docs_metrics_md_is_up_to_date() -> None:
    assert (REPOSITORY / "docs/metrics.md").read_text() == as_markdown()


def test_docs_metrics_md_describes_the_registry() -> None:
    """Each family that a scrape returns, with its type and labels; and no other."""
    rows = re.findall(r"^\| `(mix_bridge_\w+)` \| (\w+) \| ([^|]*) \| ([^|]+) \|", as_markdown(), re.MULTILINE)
    described = {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}
    text = Metrics(lambda: snapshots.FULL).render().body.decode()
    of_parent = generate_latest(snapshots.of_two_workers()).decode()
    found = {}
    for family in (*text_string_to_metric_families(text), *text_string_to_metric_families(of_parent)):
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = (family.type, frozenset(key for each in family.samples for key in each.labels if key != "le"))
    assert described == found
    assert len(rows) == len(described)
    assert all(meaning.strip().endswith(".") for *_, meaning in rows)


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
    numbers = {each.name: at for at, each in enumerate(fields(Counters), 1) if each.name != "dead_letters"}
    taken = Scrape(SNAPSHOT)
    taken.totals = {"local": Counters(dead_letters={}, **numbers)}
    assert sorted(each.values(taken)["local",] for each in PER_SERVER) == sorted(numbers.values())


def test_counters_and_reasons_exist_from_the_start() -> None:
    """The first dead letter of a reason is a rise from zero, so ``increase()`` sees it."""
    samples = scrape(SNAPSHOT)
    for reason in ("invalid_json", "schema", "unknown_event", "oversize", "rejected"):
        assert value(samples, "dead_letters_total", server="far", reason=reason) == 0
    for each in PER_SERVER:
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
