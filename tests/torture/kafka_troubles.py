"""Kafka that is there and of little use: paused controller, dropped packets, odd metadata, quota, connection limits."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.support.broker import QUICK_START, Broker, Cluster, quiet_admin
from tests.support.cluster_proxy import ClusterProxy, without_brokers, without_leaders
from tests.support.jars import classpath, java
from tests.support.quotas import limit_producer
from tests.support.waiting import TIMEOUT, wait_until
from tests.torture.run import FULL, LIGHT, Figures, Load, Place, Run

_REPLICATED = {"topics.replication_factor": 3}
_LIMIT = "max.connections.per.ip"
_PAUSE = 6.0
"""Seconds: longer than the controllers' elections and the brokers' sessions."""


def controller_paused(folder: Path, namespace: str, times: int, *, load: Load = FULL) -> Figures:
    """Pause the active controller of three brokers under load."""
    with (
        Cluster(folder / "kafka", properties={"min.insync.replicas": "2"}) as cluster,
        Run(Place(folder, cluster.bootstrap, namespace), load, _REPLICATED) as run,
    ):
        run.bridge.start().wait_ready()
        for _ in range(times):
            run.wait_flow()
            broker = _active_controller(cluster)
            broker.pause()
            run.pause(_PAUSE)
            assert run.bridge.get("/livez").status == 200
            broker.resume()
            broker.wait_ready(3)
        run.wait_flow()
        run.finish(240)
        return run.prove(f"the active controller of three brokers paused for {_PAUSE:g} s", times)


def _active_controller(cluster: Cluster) -> Broker:
    """Ask with Kafka's own tool: the answers to clients name any broker."""
    tool = [java(), *QUICK_START, "-cp", classpath(), "org.apache.kafka.tools.MetadataQuorumCommand"]
    asked = [*tool, "--bootstrap-server", cluster.bootstrap, "describe", "--status"]
    answer = subprocess.run(asked, check=True, timeout=2 * TIMEOUT, capture_output=True, text=True).stdout
    found = re.search(r"^LeaderId:\s+(\d+)", answer, re.MULTILINE)
    assert found is not None, answer
    return next(broker for broker in cluster.brokers if broker.address.node == int(found[1]))


def packets_dropped(folder: Path, namespace: str, seconds: float, times: int, *, load: Load = FULL) -> Figures:
    """Let nothing pass between the bridge and one of three brokers; the brokers see each other."""
    with (
        Cluster(folder / "kafka") as cluster,
        ClusterProxy(cluster.bootstrap) as proxy,
        Run(Place(folder, proxy.bootstrap, namespace), load, _REPLICATED) as run,
    ):
        run.bridge.start().wait_ready()
        for number in range(times):
            run.wait_flow()
            proxy.hold(number % 3)
            run.pause(seconds)
            assert run.bridge.get("/livez").status == 200
            proxy.pass_on(number % 3)
            run.wait_flow(deadline=120)
        run.finish(240)
        run.place = Place(folder, cluster.bootstrap, namespace)
        return run.prove(f"all packets to one of three brokers dropped for {seconds:g} s", times)


def odd_metadata(place: Place, times: int, *, load: Load = LIGHT) -> Figures:
    """Answer Metadata requests once without any broker, and once without leaders."""
    # Each client asks twice a second, so that every kind of client gets such an answer.
    often = {"kafka.properties.topic.metadata.refresh.interval.ms": 500}
    with ClusterProxy(place.kafka) as proxy, Run(place._replace(kafka=proxy.bootstrap), load, often) as run:
        run.bridge.start().wait_ready()
        for number in range(times):
            run.wait_flow()
            proxy.change(*[without_brokers] * (number + 1), *[without_leaders] * (number + 1))
            wait_until(lambda: proxy.is_changed, 60, "the changed answers")
            run.wait_flow()
        run.finish()
        run.place = place
        return run.prove("metadata without brokers, and with leader -1", times)


def quota(place: Place, guarantee: str, *, rate: int = 100_000, load: Load = LIGHT) -> Figures:
    """Let the brokers accept less than the load for a while: the backlog drains at the speed of the quota."""
    more = {"kafka.compression": "none", "delivery.guarantee": guarantee}
    with Run(place, load, more) as run:
        run.bridge.start().wait_ready()
        run.wait_flow()
        client = f"mix-bridge bridge:{run.bridge.pid}"
        limit_producer(place.kafka, client, rate)
        for _ in range(4):
            run.wait_flow(load.of_a_second, 120)
            assert run.bridge.get("/livez").status == 200
            run.pause(5.0)
        limit_producer(place.kafka, client, 100 * rate)
        run.finish(240)
        return run.prove(f"a quota of {rate // 1000} kB/s, {guarantee.replace('_', ' ')}", 1)


def connection_limit(folder: Path, namespace: str, guarantee: str, least: int) -> Figures:
    """Allow fewer connections than the bridge needs, then more: the limit is named, and delivery begins."""
    more = {"delivery.guarantee": guarantee, "topics.shards": 8, "start_timeout": 0, "log.level": "info"}
    with Broker(folder / "kafka") as broker, Run(Place(folder, broker.bootstrap, namespace), LIGHT, more) as run:
        admin = quiet_admin(broker.bootstrap)  # its connection stays
        _allow(admin, broker, least)
        bridge = run.bridge.start()
        wait_until(
            lambda: _LIMIT in bridge.log_text() + bridge.get("/readyz").text,
            60,
            f"the name of the limit, see {bridge.log}",
            0.5,
        )
        _allow(admin, broker, 1000)
        bridge.wait_ready(120)
        run.wait_flow()
        run.finish()
        return run.prove(f"a broker that allows {least} connections, {guarantee.replace('_', ' ')}", 1)


def _allow(admin: AdminClient, broker: Broker, connections: int) -> None:
    """Change the broker's limit of connections from one address."""
    change = ConfigEntry(_LIMIT, str(connections), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.BROKER, str(broker.address.node), incremental_configs=[change])
    admin.incremental_alter_configs([resource])[resource].result(TIMEOUT)
