"""The metrics: a Prometheus collector over the snapshot. All metric names are in this file.

Nothing is counted here: each scrape takes one snapshot, so no event costs more because of metrics. No label contains a
session id: their number has no limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from bridge.core.records.headers import Reason
from bridge.core.snapshot import BridgeSnapshot, Counters

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
        yield from _of_bridge(snapshot)
        yield from _of_topics(snapshot)
        yield from _of_servers(snapshot)
        yield from _of_sessions(snapshot)
        totals = snapshot.totals()
        yield from (_counter(each, totals) for each in _PER_SERVER)
        yield _dead_letters(totals)


def _of_bridge(snapshot: BridgeSnapshot) -> Iterator[Metric]:
    info = {"version": snapshot.version, "namespace": snapshot.namespace}
    yield InfoMetricFamily(PREFIX, "The running bridge.", value=info)
    yield CounterMetricFamily(
        f"{PREFIX}_checkpoints_written", "Checkpoints that Kafka acknowledged.", value=snapshot.checkpoints_written
    )
    yield _gauge("buffer_bytes", "Bytes read and not yet acknowledged, all sessions.", snapshot.buffer_bytes)
    yield _gauge(
        "buffer_limit_bytes", "delivery.max_buffer_bytes: readers wait when it is reached.", snapshot.buffer_limit
    )
    yield _gauge("restored", "1 when all checkpoints have been read back.", int(snapshot.restored))
    # Infinite, not absent, before the first answer: an alert on a threshold must see that too.
    age = float("inf") if snapshot.kafka_last_answer_age is None else snapshot.kafka_last_answer_age
    yield _gauge("kafka_answer_age_seconds", "Seconds since Kafka last acknowledged or answered.", age)
    yield _labelled(
        "loop_age_seconds", "Seconds since each loop of the daemon last sent a heartbeat.", "loop", snapshot.loops
    )


def _of_topics(snapshot: BridgeSnapshot) -> Iterator[Metric]:
    problems = {each.name: int(each.trouble is not None) for each in snapshot.topics}
    yield _labelled(
        "topic_trouble", "1 when records cannot be written to the topic, or would be lost.", "topic", problems
    )
    text = "Changes of a topic while the bridge runs: recreated, partitions or limit."
    family = CounterMetricFamily(f"{PREFIX}_topic_changes", text, labels=("topic", "change"))
    for topic in snapshot.topics:
        for change, count in topic.changes.items():
            family.add_metric((topic.name, change), count)
    yield family


def _of_servers(snapshot: BridgeSnapshot) -> Iterator[Metric]:
    servers = snapshot.servers
    answers = {name: int(each.reachable) for name, each in servers.items()}
    ages = {name: each.last_discovery_age for name, each in servers.items() if each.last_discovery_age is not None}
    listed = {name: each.listed for name, each in servers.items()}
    left_out = {name: each.not_bridged for name, each in servers.items()}
    yield _labelled("server_reachable", "1 when the server last answered.", "server", answers)
    yield _labelled("discovery_age_seconds", "Seconds since the server last listed its sessions.", "server", ages)
    yield _labelled("sessions_listed", "Sessions the server lists.", "server", listed)
    text = "Listed sessions beyond servers.<name>.max_sessions."
    yield _labelled("sessions_not_bridged", text, "server", left_out)


def _of_sessions(snapshot: BridgeSnapshot) -> Iterator[Metric]:
    in_flight = Counter(dict.fromkeys(snapshot.servers, 0))
    for session in snapshot.sessions:
        in_flight[session.server] += session.in_flight
    yield _labelled("records_in_flight", "Records not yet acknowledged.", "server", in_flight)
    states = Counter((session.server, session.state) for session in snapshot.sessions)
    family = GaugeMetricFamily(f"{PREFIX}_sessions", "Sessions by state.", labels=("server", "state"))
    for labels, count in sorted(states.items()):
        family.add_metric(labels, count)
    yield family


def _counter(each: _PerServer, totals: Mapping[str, Counters]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}_{each.name}", each.text, labels=("server",))
    for server, total in totals.items():
        family.add_metric((server,), getattr(total, each.field))
    return family


def _dead_letters(totals: Mapping[str, Counters]) -> Metric:
    text = "Events that went to the dead-letters topic and that Kafka acknowledged."
    family = CounterMetricFamily(f"{PREFIX}_dead_letters", text, labels=("server", "reason"))
    for server, total in totals.items():
        for reason, count in (dict.fromkeys(REASONS, 0) | dict(total.dead_letters)).items():
            family.add_metric((server, reason), count)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value)


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=(label,))
    for value_of_label, value in values.items():
        family.add_metric((value_of_label,), value)
    return family
