"""The metrics: a Prometheus collector over the snapshot. All metric names are in this file.

Nothing is counted here: each scrape takes one snapshot, so no event costs more because of metrics. No label contains a
session id: their number has no limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from bridge.core.records.headers import Reason
from bridge.core.snapshot import BridgeSnapshot

PREFIX = "mix_bridge"

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""The oldest content type: every scraper reads it, and no name here needs a newer one."""
REASONS: tuple[str, ...] = get_args(Reason)
"""Exported as 0 from the start: ``increase()`` does not see the first dead letter of a series that appears with it."""


class _PerServer(NamedTuple):
    """A counter with the label ``server``: its name without prefix and ``_total``, its help, its field."""

    name: str
    text: str
    field: str


_PER_SERVER = (
    _PerServer("events_received", "Events that came off the streams, connected and heartbeat aside.", "received"),
    _PerServer("events_published", "Records in the event topics that Kafka acknowledged.", "published"),
    _PerServer("events_skipped", "Events that the settings say not to publish.", "skipped"),
    _PerServer("events_utf8_replaced", "Events in which bytes that are not UTF-8 were replaced.", "replaced_utf8"),
    _PerServer("records_refused", "Records that Kafka refused.", "refused"),
    _PerServer("rewinds", "Times a session was set back to a refused record.", "rewinds"),
    _PerServer("epochs_begun", "Epochs started: it was not certain that the numbering continues.", "epochs_begun"),
    _PerServer("reconnects", "Connections to a stream after a session's first one.", "reconnects"),
    _PerServer("resumed", "Connections that provably continued where the stream stopped. No action needed.", "resumed"),
    _PerServer(
        "gaps",
        "Times events were lost: the server no longer had them, or never sent them. The lifecycle topic names session"
        " and ids. Let the server keep more for replay, and check why the bridge did not read (reconnects, Kafka).",
        "gaps",
    ),
    _PerServer(
        "missing_events",
        "Events lost in gaps, as far as the server's ids show how many: 0 beside gaps means that they do not.",
        "missing_events",
    ),
    _PerServer(
        "healed",
        "Jumps in a server's ids that one more connection filled. If there are many, the server drops events for slow"
        " readers: check what slows the bridge down (buffer_bytes near its limit, Kafka).",
        "backfilled",
    ),
    _PerServer(
        "resets",
        "Times a server's ids started over. It lost its replay buffer: check why it restarted.",
        "resets",
    ),
    _PerServer(
        "unresumable",
        "Times a stream could not be resumed where it stopped: events may be missing. The lifecycle topic says why.",
        "unresumable",
    ),
    _PerServer(
        "other_readers",
        "Errors of a Mix server without ids that show another reader of the session (a UI, a second bridge). Only one"
        " reader receives a run: close the other one.",
        "other_readers",
    ),
    _PerServer("read_bytes", "Bytes read from the streams.", "bytes_read"),
    _PerServer(
        "discarded_tails", "Connections that ended inside a block; the server sends it again.", "discarded_tails"
    ),
    _PerServer("discarded_bytes", "Bytes of the blocks inside which connections ended.", "discarded_bytes"),
)


class Metrics:
    """The text of ``/metrics``. Thread rule: one thread at a time (the HTTP thread)."""

    def __init__(self, snapshot: Callable[[], BridgeSnapshot]) -> None:
        self._registry = CollectorRegistry()  # not the global one, which other code of the process may use
        self._registry.register(SnapshotCollector(snapshot))
        ProcessCollector(namespace=PREFIX, registry=self._registry)  # mix_bridge_process_*: memory, CPU, descriptors

    def render(self) -> bytes:
        """All metrics as Prometheus text."""
        return generate_latest(self._registry)


class SnapshotCollector(Collector):
    """Metrics of one snapshot at each scrape."""

    def __init__(self, snapshot: Callable[[], BridgeSnapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        """Return nothing: otherwise registering would take a snapshot before the daemon has one."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The metrics at this moment."""
        snapshot = self._snapshot()
        info = {"version": snapshot.version, "namespace": snapshot.namespace}
        yield InfoMetricFamily(PREFIX, "The running bridge.", value=info)
        for each in (*_of_bridge(snapshot), *_of_topics(snapshot), *_of_servers(snapshot), *_of_sessions(snapshot)):
            family = each.kind(f"{PREFIX}_{each.name}", each.text, labels=each.labels)
            for labels, value in each.samples.items():
                family.add_metric(labels, value)
            yield family


class _Family(NamedTuple):
    """A metric without its prefix, its help, its samples by the values of their labels, and the labels' names."""

    name: str
    text: str
    samples: Mapping[Any, float]
    labels: tuple[str, ...] = ()
    kind: type[GaugeMetricFamily | CounterMetricFamily] = GaugeMetricFamily


def _of_bridge(snapshot: BridgeSnapshot) -> Iterator[_Family]:
    written = {(): snapshot.checkpoints_written}
    yield _Family("checkpoints_written", "Checkpoints that Kafka acknowledged.", written, kind=CounterMetricFamily)
    yield _Family("buffer_bytes", "Bytes read and not yet acknowledged, all sessions.", {(): snapshot.buffer_bytes})
    text = "delivery.max_buffer_bytes: readers wait when it is reached."
    yield _Family("buffer_limit_bytes", text, {(): snapshot.buffer_limit})
    yield _Family("restored", "1 when all checkpoints have been read back.", {(): int(snapshot.restored)})
    # Infinite, not absent, before the first answer: an alert on a threshold must see that too.
    age = float("inf") if snapshot.kafka_last_answer_age is None else snapshot.kafka_last_answer_age
    yield _Family("kafka_answer_age_seconds", "Seconds since Kafka last acknowledged or answered.", {(): age})
    text = "Seconds since each loop of the daemon last sent a heartbeat."
    yield _Family("loop_age_seconds", text, _by_name(snapshot.loops), ("loop",))


def _of_topics(snapshot: BridgeSnapshot) -> Iterator[_Family]:
    problems = {(each.name,): int(each.trouble is not None) for each in snapshot.topics}
    yield _Family(
        "topic_trouble", "1 when records cannot be written to the topic, or would be lost.", problems, ("topic",)
    )
    changes = {(each.name, change): count for each in snapshot.topics for change, count in each.changes.items()}
    text = "Changes of a topic while the bridge runs: recreated, partitions or limit."
    yield _Family("topic_changes", text, changes, ("topic", "change"), CounterMetricFamily)


def _of_servers(snapshot: BridgeSnapshot) -> Iterator[_Family]:
    servers, label = snapshot.servers, ("server",)
    answers = {name: int(each.reachable) for name, each in servers.items()}
    ages = {name: each.last_discovery_age for name, each in servers.items() if each.last_discovery_age is not None}
    listed = {name: each.listed for name, each in servers.items()}
    left_out = {name: each.not_bridged for name, each in servers.items()}
    yield _Family("server_reachable", "1 when the server last answered.", _by_name(answers), label)
    yield _Family("discovery_age_seconds", "Seconds since the server last listed its sessions.", _by_name(ages), label)
    yield _Family("sessions_listed", "Sessions the server lists.", _by_name(listed), label)
    text = "Listed sessions beyond servers.<name>.max_sessions."
    yield _Family("sessions_not_bridged", text, _by_name(left_out), label)


def _of_sessions(snapshot: BridgeSnapshot) -> Iterator[_Family]:
    in_flight = Counter(dict.fromkeys(snapshot.servers, 0))
    for session in snapshot.sessions:
        in_flight[session.server] += session.in_flight
    yield _Family("records_in_flight", "Records not yet acknowledged.", _by_name(in_flight), ("server",))
    states = Counter((session.server, session.state) for session in snapshot.sessions)
    yield _Family("sessions", "Sessions by state.", dict(sorted(states.items())), ("server", "state"))
    totals = snapshot.totals()
    for name, text, field in _PER_SERVER:
        counts = {(server,): getattr(total, field) for server, total in totals.items()}
        yield _Family(name, text, counts, ("server",), CounterMetricFamily)
    reasons = {server: dict.fromkeys(REASONS, 0) | dict(total.dead_letters) for server, total in totals.items()}
    letters = {(server, reason): count for server, counts in reasons.items() for reason, count in counts.items()}
    text = "Events that went to the dead-letters topic and that Kafka acknowledged."
    yield _Family("dead_letters", text, letters, ("server", "reason"), CounterMetricFamily)


def _by_name(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(name,): value for name, value in values.items()}
