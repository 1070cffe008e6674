"""Another Kafka cluster behind the same address: it is reported, and positions of the two are not mixed."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.broker import Broker
from tests.support.formatted import new_id
from tests.support.scene import settings, started, wait_checkpoint
from tests.support.scripted_mix import Feed, scripted_mix
from tests.support.topics import partitions_of
from tests.support.waiting import TIMEOUT


def test_another_cluster_behind_the_same_name_ends_the_process(
    private_broker: Broker, namespace: str, tmp_path: Path
) -> None:
    """With 75 and both ids; nothing is created there, and no position of the former cluster is written."""
    with scripted_mix({"a": Feed(5)}) as mix:
        kafka = private_broker.bootstrap
        with started(tmp_path, settings(kafka, namespace, mix.url)) as bridge:
            wait_checkpoint(kafka, namespace, "a", lambda one: one["last_event_id"] == "5")
            private_broker.kill()
            shutil.rmtree(private_broker.data)
            private_broker.format(new_id())
            private_broker.start()
            assert bridge.wait(TIMEOUT) == 75
            assert "another Kafka cluster answers behind kafka.bootstrap_servers" in bridge.log_text()
    assert partitions_of(kafka, f"{namespace}.checkpoints") == []
