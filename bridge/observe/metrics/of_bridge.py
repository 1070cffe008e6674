"""The metrics of one bridge process as a whole, and of one that supervises workers, beside the sums of their own."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.observe.metrics.family import Family, Kind, Samples, Scrape, by_name, one

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


def _log_lines(scrape: Scrape) -> Samples:
    # All levels exist from the start: ``increase()`` does not see the first line of a series that appears with it.
    return by_name(dict.fromkeys(LOG_LEVELS, 0) | dict(scrape.snapshot.log_lines))


def _build(build: Mapping[str, str]) -> Samples:
    return {tuple(build.get(name, "") for name in ("version", "python", "librdkafka")): 1}


_CHECKPOINT_ADVICE = "If it is old while records are in flight, check the checkpoints topic and its permissions."

FAMILIES = (
    Family(
        "info", Kind.GAUGE, ("version", "namespace"), "The running bridge; always 1.",
        lambda scrape: {(scrape.snapshot.version, scrape.snapshot.namespace): 1},
    ),
    Family(
        "build_info", Kind.GAUGE, ("version", "python", "librdkafka"), "The versions that run; always 1.",
        lambda scrape: _build(scrape.snapshot.build),
        "Replicas should have the same ones, except during an upgrade.",
    ),
    Family(
        "settings_info", Kind.GAUGE, ("sha256",),
        "A digest of the settings in which all replicas must agree (not credentials, instance, workers, http and log);"
        " always 1.",
        lambda scrape: by_name({scrape.snapshot.settings_sha256: 1}),
        "Two digests in one namespace: compare mix-bridge settings show on both machines.",
    ),
    Family(
        "ready", Kind.GAUGE, (), "1 when /readyz is 200.", lambda scrape: one(int(scrape.readiness.ok)),
        "If it is 0, check_ok names the failed check, and /readyz the fix.",
    ),
    Family(
        "check_ok", Kind.GAUGE, ("check",),
        "1 when this check of /readyz is well; a check that does not apply is absent.",
        lambda scrape: by_name({each.name: int(each.ok) for each in scrape.readiness.checks}),
        "GET /readyz has the detail and the fix.",
    ),
    Family(
        "restored", Kind.GAUGE, (), "1 when all checkpoints have been read back.",
        lambda scrape: one(int(scrape.snapshot.restored)),
        "If it stays 0, check Kafka and the log.",
    ),
    Family(
        "session_capacity", Kind.GAUGE, (),
        "Sessions that fit into the process's limits of threads and file descriptors; absent if no limit is known.",
        lambda scrape: {} if scrape.snapshot.session_capacity is None else one(scrape.snapshot.session_capacity),
        "If sessions_not_bridged is above 0, raise the limit that the log names, or add a replica.",
    ),
    Family(
        "certificate_expiry_timestamp_seconds", Kind.GAUGE, ("use",),
        "Unix time at which the certificate in a file expires; `use` is the setting that names the file.",
        lambda scrape: by_name(scrape.snapshot.certificates),
        "Replace the file in time: it is used without a restart.",
    ),
    Family(
        "buffer_bytes", Kind.GAUGE, (), "Bytes read and not yet acknowledged, all sessions.",
        lambda scrape: one(scrape.snapshot.buffer_bytes),
        "Near buffer_limit_bytes readers wait: Kafka is slower than the servers, or away.",
    ),
    Family(
        "buffer_limit_bytes", Kind.GAUGE, (), "delivery.max_buffer_bytes: readers wait when it is reached.",
        lambda scrape: one(scrape.snapshot.buffer_limit),
    ),
    Family(
        "checkpoints_written", Kind.COUNTER, (), "Checkpoints that Kafka acknowledged.",
        lambda scrape: one(scrape.snapshot.checkpoints_written),
    ),
    Family(
        "last_checkpoint_timestamp_seconds", Kind.GAUGE, (),
        "Unix time at which Kafka last acknowledged a checkpoint; 0: not yet.",
        lambda scrape: one((scrape.snapshot.last_checkpoint_ms or 0) / 1000),
        _CHECKPOINT_ADVICE,
    ),
    Family(
        "commit_duration_seconds", Kind.HISTOGRAM, (),
        "Exactly once: seconds of a transaction's commit. At least once: from sending a checkpoint to its"
        " acknowledgement.",
        lambda scrape: one(scrape.snapshot.durations.commit),
        "If it grows, look at the brokers: load, disks, under-replicated partitions.",
    ),
    Family(
        "restore_duration_seconds", Kind.HISTOGRAM, (),
        "From the assignment of a shard to the start of its sessions.",
        lambda scrape: one(scrape.snapshot.durations.restore),
        "If it grows, the checkpoints topic is not compacted soon enough: see segment.ms and the log cleaner.",
    ),
    Family(
        "last_heartbeat_timestamp_seconds", Kind.GAUGE, ("loop",),
        "Unix time at which each loop of the daemon last sent a heartbeat.",
        lambda scrape: by_name({name: scrape.ago(age) for name, age in scrape.snapshot.loops.items()}),
        "After 5 s /livez is 503: restart the process, no event is lost by that.",
    ),
    Family(
        "log_lines", Kind.COUNTER, ("level",), "Lines of the log; those left out as repeats count too.", _log_lines,
        "If errors rise, read the log: docs/logs.md lists all events.",
    ),
    Family(
        "log_lines_dropped", Kind.COUNTER, (), "Log lines that were dropped: the reader of stderr was too slow.",
        lambda scrape: one(scrape.snapshot.log_lines_dropped),
        "Check the log collector; the bridge itself does not wait for it.",
    ),
)  # fmt: skip


Seats = Mapping[int, tuple[bool, int]]
"""By the number of a worker: whether its process runs, and how often it was started again."""

WORKERS = (
    Family(
        "worker_up", Kind.GAUGE, ("worker",), "1 while the process of the worker runs.",
        lambda seats: {(str(number),): int(is_up) for number, (is_up, _) in seats.items()},
        "If it stays 0, the log says why the worker ended: its sessions wait for it.",
    ),
    Family(
        "worker_restarts", Kind.COUNTER, ("worker",), "Times a worker that ended was started again.",
        lambda seats: {(str(number),): restarts for number, (_, restarts) in seats.items()},
        "If it rises, the log says why the worker ends.",
    ),
)  # fmt: skip
