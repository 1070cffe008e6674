"""Connections to Kafka and to the server that a proxy cuts, delays, silences or leaves half open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.broker import Broker
from tests.support.network_proxy import BLACK_HOLE, CLEAR, HALF_OPEN, REFUSED, NetworkConditions, Proxy
from tests.support.waiting import wait_until
from tests.torture.run import Figures, Place, Run


@dataclass(frozen=True, slots=True)
class Spell:
    """Network conditions for some seconds, with cuts at the start or the end."""

    name: str
    conditions: NetworkConditions = CLEAR
    seconds: tuple[float, float] = (0.0, 0.0)
    cut_first: bool = False
    cut_last: bool = False
    reset: bool = True


def spells(least: float, most: float) -> tuple[Spell, ...]:
    """Return every kind of spell, each with this range of seconds."""
    long = (least, most)
    return (
        Spell("cut (RST)", cut_first=True),
        Spell("cut (FIN)", cut_first=True, reset=False),
        Spell("refused", REFUSED, long, cut_first=True),
        Spell("0.3 s late", NetworkConditions(delay=0.3), long),
        Spell("black hole, then restored", BLACK_HOLE, long),
        Spell("black hole, then cut", BLACK_HOLE, long, cut_last=True),
        Spell("answers lost, then cut", HALF_OPEN, long, cut_last=True),
    )


def to_kafka(folder: Path, namespace: str, plan: Sequence[Spell], times: int, done: str) -> Figures:
    """Inject network faults between the bridge and its broker."""
    proxy = Proxy()
    broker = Broker(folder / "kafka", properties={"advertised.listeners": f"PLAINTEXT://{proxy.address}"})
    proxy.upstream = broker.address.client_port
    # Requests time out within the spell, so that the client does not know their outcome.
    more = {"kafka.properties.socket.timeout.ms": "2000"}
    with proxy, broker, Run(Place(folder, proxy.address, namespace), more=more) as run:
        run.bridge.start().wait_ready()
        _end_and_recover(run, proxy, plan, times)
        run.finish()
        figures = run.prove(done, times * len(plan))
        assert figures.twice == 0
        return figures


def to_the_server(place: Place, plan: Sequence[Spell], times: int, done: str) -> Figures:
    """Inject network faults between the bridge and the server."""
    more = {"servers.local.read_timeout": "1s", "servers.local.connect_timeout": "1s"}
    with Proxy() as proxy, Run(place, more=more, through=proxy) as run:
        run.bridge.start().wait_ready()
        _end_and_recover(run, proxy, plan, times)
        run.finish()
        return run.prove(done, times * len(plan))


def _end_and_recover(run: Run, proxy: Proxy, plan: Sequence[Spell], times: int) -> None:
    for _ in range(times):
        for spell in plan:
            run.wait_flow()
            proxy.set(spell.conditions)
            if spell.cut_first:
                proxy.cut(reset=spell.reset)
            run.pause(*spell.seconds)
            assert run.bridge.get("/livez").status == 200, spell.name
            if spell.cut_last:
                proxy.cut(reset=spell.reset)
            proxy.set(CLEAR)
    wait_until(lambda: run.bridge.get("/readyz").status == 200, 60, f"a 200 of /readyz, see {run.bridge.log}", 0.1)
    run.wait_flow()
