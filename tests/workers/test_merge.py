"""One answer from the answers of all workers."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from bridge.core.snapshot import (
    BridgeSnapshot,
    Counters,
    Replica,
    ServerSnapshot,
    SessionSnapshot,
    ShardSnapshot,
    TopicSnapshot,
    status,
)
from bridge.observe.health import readiness
from bridge.observe.metrics.collector import Metrics
from bridge.workers.merge import OfWorker, Series, Totals, merged_checks, merged_metrics, merged_status
from tests.fakes.parent_endpoint import OWN
from tests.fakes.snapshots import WELL


def worker(number: int) -> BridgeSnapshot:
    """The snapshot of one worker, with one session and one shard."""
    session = SessionSnapshot("local", f"s{number}", "streaming", counters=Counters(received=number))
    shard = ShardSnapshot(number, "owned", 7, 1)
    others = {f"host-{3 - number}:9": 1, "elsewhere:9": 4}
    replica = Replica(owner=f"host-{number}:9", shard_count=8, shards=(shard,), others=others)
    server = ServerSnapshot(reachable=number == 1, listed=3)
    return replace(WELL, sessions=(session,), replica=replica, servers={"local": server}, buffer_bytes=10)


WORKERS = {number: worker(number) for number in (1, 2)}


def test_the_status_has_the_sessions_and_shards_of_all() -> None:
    """Other replicas are named, the workers themselves are not."""
    answers = [OfWorker(number, status(each)) for number, each in WORKERS.items()]
    merged = merged_status(answers, OWN)
    assert [(each["session"], each["worker"]) for each in merged["sessions"]] == [("s1", 1), ("s2", 2)]
    assert [(each["shard"], each["worker"]) for each in merged["shards"]] == [(1, 1), (2, 2)]
    assert merged["replicas"] == {"elsewhere:9": 4}
    assert merged["servers"]["local"]["reachable"] is True
    assert (merged["bridge"]["owner"], merged["bridge"]["buffer_bytes"]) == ("host:1", 20)
    assert merged.keys() == status(WORKERS[1]).keys() | {"workers"}
    assert merged["bridge"].keys() == status(WORKERS[1])["bridge"].keys()  # type: ignore[attr-defined]


def test_a_worker_that_does_not_answer_is_shown_and_is_not_ready() -> None:
    """Its sessions are bridged by the others soon; the answer is never an error."""
    merged = merged_status([OfWorker(1, status(WORKERS[1])), OfWorker(2, None)], OWN)
    assert merged["workers"] == [{"worker": 1, "answers": True}, {"worker": 2, "answers": False}]
    assert merged_status([OfWorker(1, None)], OWN)["sessions"] == []
    ready = readiness(WORKERS[1]).to_json()
    checks = merged_checks([OfWorker(1, ready), OfWorker(2, None)])
    assert checks["ok"] is False
    assert checks["checks"][0]["name"].startswith("worker-1:")  # type: ignore[index]
    assert merged_checks([OfWorker(1, ready), OfWorker(2, ready)])["ok"] is True


def test_a_topic_is_shown_as_the_worker_that_has_the_most_against_it_describes_it() -> None:
    """Each worker looks at its own times, and one of them notices a change first."""
    well, warned, away = (TopicSnapshot("events", 8, *more) for more in ((), (None, ("one",)), ("is away",)))
    for topics in ((well, warned, away), (away, well, warned)):
        bodies = [status(replace(WORKERS[1], topics=(each,))) for each in topics]
        merged = merged_status([OfWorker(number, body) for number, body in enumerate(bodies)], OWN)
        assert merged["topics"]["events"]["trouble"] == "is away"


def test_counters_and_histograms_are_summed_and_gauges_have_a_label() -> None:
    """Every family of a worker is there once, with its type and its help."""
    texts = {number: Metrics(lambda each=each: each).render().body.decode() for number, each in WORKERS.items()}  # type: ignore[misc]
    body = merged_metrics([OfWorker(*each) for each in texts.items()] + [OfWorker(3, None)], {1: (True, 2)}, Totals())
    merged = {each.name: each for each in text_string_to_metric_families(body.body.decode())}
    first = {each.name: each for each in text_string_to_metric_families(texts[1])}
    assert merged.keys() - first.keys() == {"mix_bridge_worker_up", "mix_bridge_worker_restarts"}
    assert {name: (each.type, each.documentation) for name, each in merged.items() if name in first} == {
        name: (each.type, each.documentation) for name, each in first.items()
    }
    [received] = merged["mix_bridge_events_received"].samples
    assert (received.labels, received.value) == ({"server": "local"}, 3.0)
    held = {each.labels["worker"]: each.value for each in merged["mix_bridge_buffer_bytes"].samples}
    assert held == {"1": 10.0, "2": 10.0}
    for family in first.values():
        if family.type == "histogram":
            assert len(merged[family.name].samples) == len(family.samples)


def test_open_metrics_for_those_who_ask() -> None:
    """The same samples in strict order, also for a server that only the second worker knows."""
    second = replace(WORKERS[2], servers={**WORKERS[2].servers, "other": ServerSnapshot(reachable=True)})
    texts = [Metrics(lambda each=each: each).render().body.decode() for each in (WORKERS[1], second)]  # type: ignore[misc]
    answers, own = [OfWorker(*each) for each in enumerate(texts, 1)], {1: (True, 2)}
    strict = merged_metrics(answers, own, Totals(), "application/openmetrics-text;version=1.0.0")
    assert strict.content_type.startswith("application/openmetrics-text; version=1.0.0")
    plain = text_string_to_metric_families(merged_metrics(answers, own, Totals()).body.decode())
    found, expected = (
        sorted((each.name, sorted(each.labels.items()), each.value) for family in families for each in family.samples)
        for families in (parse_openmetrics(strict.body.decode()), plain)  # type: ignore[no-untyped-call]
    )
    assert found == expected


def test_a_sum_does_not_fall_when_a_worker_is_started_again() -> None:
    """For Prometheus a fall is a reset: it would count the gaps of the other workers again, and alert."""
    totals, own = Totals[Series](), dict[int, tuple[bool, int]]()

    def gaps(*answers: str | None) -> float | None:
        body = merged_metrics([OfWorker(number, text) for number, text in enumerate(answers, 1)], own, totals)
        found = {each.name: each for each in text_string_to_metric_families(body.body.decode())}
        return found["mix_bridge_gaps"].samples[0].value if "mix_bridge_gaps" in found else None

    assert gaps(_scraped(100, 5), _scraped(100, 3)) == 8
    assert gaps(_scraped(100, 5), None) == 8
    assert gaps(None, None) is None
    assert gaps(_scraped(100, 6), _scraped(200, 0)) == 9
    assert gaps(_scraped(100, 6), _scraped(200, 4)) == 13
    assert gaps(_scraped(100, 6), _scraped(100, 3)) == 13  # answered before it ended, and arrived late
    assert gaps(_scraped(300, 1), _scraped(200, 4)) == 14


def _scraped(started: float, gaps: int) -> str:
    """What a worker answers: when its process started, and one counter."""
    return (
        "# TYPE mix_bridge_process_start_time_seconds gauge\n"
        f"mix_bridge_process_start_time_seconds {started}\n"
        "# TYPE mix_bridge_gaps_total counter\n"
        f'mix_bridge_gaps_total{{server="local"}} {gaps}\n'
    )
