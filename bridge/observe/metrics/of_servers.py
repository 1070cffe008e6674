"""The metrics of each server and its sessions: at most 60 series per server. No label contains a session id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import get_args

from bridge.core.records.record import Reason
from bridge.core.snapshot import ServerSnapshot
from bridge.observe.metrics.family import Family, Kind, Samples, Scrape, by_name

REASONS: tuple[str, ...] = get_args(Reason)
"""Exported as 0 from the start: ``increase()`` does not see the first dead letter of a series that appears with it."""


def _counter(name: str, field: str, meaning: str, advice: str = "") -> Family:
    """A counter of each server: its name without ``_total``, its field in the snapshot, its meaning, what to do."""
    return Family(
        name, Kind.COUNTER, ("server",), meaning,
        lambda scrape: by_name({server: getattr(total, field) for server, total in scrape.totals.items()}),
        advice,
    )  # fmt: skip


_LOST = (
    "The lifecycle topic names session and ids. Let the server keep more for replay, and check why the bridge did not"
    " read."
)

PER_SERVER = (
    _counter("events_received", "received", "Events that came off the streams, connected and heartbeat aside."),
    _counter("events_published", "published", "Records in the event topics that Kafka acknowledged."),
    _counter("events_skipped", "skipped", "Events that the settings say not to publish."),
    _counter(
        "events_utf8_replaced", "replaced_utf8", "Events in which bytes that are not UTF-8 were replaced.",
        "The server sends broken text: report it there.",
    ),
    _counter(
        "records_refused", "refused", "Records that Kafka refused.",
        "They are in the dead-letters topic with Kafka's error: mix-bridge dlq list --reason rejected.",
    ),
    _counter("rewinds", "rewinds", "Times a session was set back to a refused record."),
    _counter(
        "epochs_begun", "epochs_begun", "Epochs started: it was not certain that the numbering continues.",
        "One per session is normal; for more, the lifecycle topic has the reason.",
    ),
    _counter(
        "reconnects", "reconnects", "Connections to a stream after a session's first one.",
        "If there are many, a server or a proxy cuts streams: see the reason in the log (disconnected).",
    ),
    _counter("resumed", "resumed", "Connections that provably continued where the stream stopped."),
    _counter(
        "gaps", "gaps", "Times events were lost: the server no longer had them, or never sent them.", _LOST,
    ),
    _counter(
        "missing_events", "missing_events",
        "Events lost in gaps, as far as the server's ids show how many: 0 beside gaps means that they do not.", _LOST,
    ),
    _counter(
        "healed", "backfilled", "Jumps in a server's ids that one more connection filled.",
        "If there are many, the server drops events for slow readers: check what slows the bridge down (buffer_bytes"
        " near its limit, Kafka).",
    ),
    _counter(
        "resets", "resets", "Times a server's ids started over.", "It lost its replay buffer: check why it restarted.",
    ),
    _counter(
        "unresumable", "unresumable",
        "Times a stream could not be resumed where it stopped: events may be missing.", "The lifecycle topic says why.",
    ),
    _counter(
        "other_readers", "other_readers",
        "Errors of a Mix server without ids that show another reader of the session (a UI, a second bridge).",
        "Only one reader receives a run: close the other one.",
    ),
    _counter("read_bytes", "bytes_read", "Bytes read from the streams."),
    _counter(
        "discarded_tails", "discarded_tails", "Connections that ended inside a block; the server sends it again.",
    ),
    _counter("discarded_bytes", "discarded_bytes", "Bytes of the blocks inside which connections ended."),
)  # fmt: skip
"""Counters with the label ``server``."""


def _servers(value: Callable[[ServerSnapshot], float]) -> Callable[[Scrape], Samples]:
    return lambda scrape: by_name({name: value(each) for name, each in scrape.snapshot.servers.items()})


def _last_lists(scrape: Scrape) -> Samples:
    """A server that is not polled has no such time."""
    polled = {name: each for name, each in scrape.snapshot.servers.items() if each.discovers}
    return by_name({name: scrape.ago(each.last_discovery_age) for name, each in polled.items()})


def _in_flight(scrape: Scrape) -> Samples:
    counts = dict.fromkeys(scrape.snapshot.servers, 0)
    for session in scrape.snapshot.sessions:
        counts[session.server] = counts.get(session.server, 0) + session.in_flight
    return by_name(counts)


def _oldest(scrape: Scrape) -> Samples:
    oldest: dict[str, int] = {}
    for each in scrape.snapshot.sessions:
        read_at = each.oldest_unacknowledged_ms
        if read_at is not None:
            oldest[each.server] = min(oldest.get(each.server, read_at), read_at)
    return by_name({server: read_at / 1000 for server, read_at in oldest.items()})


def _sessions(scrape: Scrape) -> Samples:
    return dict(sorted(Counter((each.server, each.state) for each in scrape.snapshot.sessions).items()))


def _dead_letters(scrape: Scrape) -> Samples:
    reasons = {server: dict.fromkeys(REASONS, 0) | dict(total.dead_letters) for server, total in scrape.totals.items()}
    return {(server, reason): count for server, counts in reasons.items() for reason, count in counts.items()}


FAMILIES = (
    Family(
        "server_reachable", Kind.GAUGE, ("server",), "1 when the server last answered.",
        _servers(lambda server: int(server.reachable)),
        "Check that it runs, servers.<name>.url, and the network; the bridge keeps retrying.",
    ),
    Family(
        "last_discovery_timestamp_seconds", Kind.GAUGE, ("server",),
        "Unix time at which the server last listed its sessions; 0: not yet. Absent without discovery.", _last_lists,
        "If it is old, new sessions are not found: see the log.",
    ),
    Family(
        "sessions_listed", Kind.GAUGE, ("server",), "Sessions that the server lists.",
        _servers(lambda server: server.listed),
    ),
    Family(
        "list_entries_skipped", Kind.GAUGE, ("server",), "Entries of the server's last list that were skipped.",
        _servers(lambda server: server.entries_skipped),
        "They are invalid, or repeat an id: see the log, and check the server.",
    ),
    Family(
        "sessions_not_bridged", Kind.GAUGE, ("server",), "Listed sessions beyond servers.<name>.max_sessions.",
        _servers(lambda server: server.not_bridged),
        "Raise max_sessions, add replicas, or narrow discovery (created_within).",
    ),
    Family(
        "sessions", Kind.GAUGE, ("server", "state"), "Sessions of this process by state.", _sessions,
        "refused and crashed ones need a person: mix-bridge status shows the error of each.",
    ),
    Family("records_in_flight", Kind.GAUGE, ("server",), "Records not yet acknowledged.", _in_flight),
    Family(
        "oldest_unacknowledged_timestamp_seconds", Kind.GAUGE, ("server",),
        "Unix time at which the oldest event was read that Kafka has not acknowledged; absent when there is none.",
        _oldest,
        "If it is old, Kafka does not accept a record: see last_error in mix-bridge status.",
    ),
    Family(
        "publish_latency_seconds", Kind.HISTOGRAM, ("server",),
        "From the read of an event to its acknowledgement by Kafka, by the wall clock; each record counts.",
        lambda scrape: by_name(scrape.snapshot.durations.publish),
        "If it grows, compare kafka_round_trip_seconds (slow brokers) and the processor time (a slow bridge).",
    ),
    Family(
        "reconnect_duration_seconds", Kind.HISTOGRAM, ("server",),
        "From the loss of a session's stream to the server's next answer with it, back-off included.",
        lambda scrape: by_name({name: each.reconnects for name, each in scrape.snapshot.servers.items()}),
        "Long ones risk gaps: the server's replay buffer must cover them.",
    ),
    *PER_SERVER,
    Family(
        "dead_letters", Kind.COUNTER, ("server", "reason"),
        "Events that went to the dead-letters topic and that Kafka acknowledged.", _dead_letters,
        "mix-bridge dlq list shows them and why; dlq replay sends them again once the cause is gone.",
    ),
)  # fmt: skip
