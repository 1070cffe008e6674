"""A session whose topic accepts no records leaves memory to the others."""

from __future__ import annotations

from pathlib import Path

from tests.support.scene import session, settings, started, wait_acknowledged
from tests.support.scripted_mix import Feed, content, scripted_mix
from tests.support.topics import create_topic, delete_topics, partitions_of
from tests.support.waiting import wait_until


def test_a_session_whose_topic_takes_nothing_leaves_room_for_the_others(
    kafka: str, namespace: str, tmp_path: Path
) -> None:
    """Its events could fill all the memory there is; the other session's still flow."""
    for name in ("events", "dead-letters", "lifecycle", "tools"):
        create_topic(kafka, f"{namespace}.{name}", 2)
    create_topic(kafka, f"{namespace}.checkpoints", 2, {"cleanup.policy": "compact"})
    stuck, other, tools = Feed(5), Feed(5), f"{namespace}.tools"
    more = {
        "topics.create": False,
        "topics.routes": [{"match": "todos_*", "topic": tools}],
        "delivery.max_buffer_bytes": "4MiB",
    }
    with (
        scripted_mix({"stuck": stuck, "other": other}) as mix,
        started(tmp_path, settings(kafka, namespace, mix.url, more)) as bridge,
    ):
        wait_acknowledged(bridge, "stuck", 5)
        delete_topics(kafka, tools)
        wait_until(lambda: partitions_of(kafka, tools) == [], 10, "the end of the topic")
        stuck.push("todos_updated", content("x"))
        wait_until(lambda: session(bridge, "stuck")["in_flight"] > 0, 10, "something that waits")
        for _ in range(400):
            stuck.push("content", content("x" * 20_000))
        wait_until(lambda: session(bridge, "stuck")["in_flight"] > 40, 10, "much that waits")
        for count in range(6, 26):
            other.add(1)
            wait_acknowledged(bridge, "other", count)
