"""``make torture``: all fault injections at full size, with a row of docs/reliability.md for each.

``KILLS``: random kills. ``SIZE``: how often, or how long, each other fault is injected (1: a quick run; 20: as for the
published figures). ``ONLY``: names with commas; ``--list`` shows all. The exit code is 1 when a check fails.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.servers.run import QUICK, SLOW, survive
from tests.support.broker import Broker
from tests.torture.alerts import each_fires
from tests.torture.brokers import all_away, can_mount, disk_full, in_trouble, killed, one_of_three_killed, paused
from tests.torture.brokers import restarted as restarted_gracefully
from tests.torture.field import can_limit, few_threads, outage_of_many, slow_core, unread_log
from tests.torture.handover import ended_at_points
from tests.torture.kafka_troubles import connection_limit, controller_paused, odd_metadata, packets_dropped, quota
from tests.torture.kills import (
    IN_A_NEW_EPOCH,
    IN_THE_FLOW,
    killed_at_points,
    killed_at_random,
    killed_in_new_epochs,
)
from tests.torture.log_flood import fail_together
from tests.torture.memory import slow_for_long
from tests.torture.network import spells, to_kafka, to_the_server
from tests.torture.pages import many_pages, watched_for_long
from tests.torture.replicas import AT_LEAST_ONCE, EXACTLY_ONCE, changed
from tests.torture.rotation import rotated
from tests.torture.run import HEAD, Place
from tests.torture.signals import (
    clock_set_back,
    frozen,
    stopped_at_points,
    stopped_without_a_server,
    stopped_without_kafka,
)

Act = Callable[[Path], object]
OnBroker = Callable[[Place], object]


class Size(NamedTuple):
    """The number of faults."""

    kills: int
    times: int


def acts(size: Size) -> dict[str, Act]:
    """Return all fault injections by name; each runs its own Kafka in the given folder."""
    few, long = max(1, size.times // 4), max(1.0, 15.0 * size.times)
    changes, rounds = max(6, 3 * size.times // 2), max(1, size.times // 10)
    return {
        "kills": _on_broker(lambda place: killed_at_random(place, size.kills)),
        **{
            point: _on_broker(lambda place, p=point: killed_at_points(place, [p], size.times, _at(p)))  # type: ignore[misc]
            for point in IN_THE_FLOW
        },
        **{
            point: _on_broker(lambda place, p=point: killed_in_new_epochs(place, [p], size.times, _at(p)))  # type: ignore[misc]
            for point in IN_A_NEW_EPOCH
        },
        "restart": lambda folder: in_trouble(folder, "t", [restarted_gracefully], few, "broker restarted gracefully"),
        "broker_killed": lambda folder: in_trouble(folder, "t", [killed], few, "broker killed with -9"),
        "broker_paused": lambda folder: in_trouble(folder, "t", [paused(5, 30)], few, "broker paused for 5 to 30 s"),
        "one_of_three": lambda folder: one_of_three_killed(folder, "t", few),
        "all_away": lambda folder: all_away(folder, "t", min(120.0, long), 1),
        "disk_full": lambda folder: disk_full(folder, "t", few),
        "controller_paused": lambda folder: controller_paused(folder, "t", max(2, 5 * size.times // 2)),
        "packets_dropped": lambda folder: packets_dropped(folder, "t", 20.0, max(3, few)),
        "odd_metadata": _on_broker(lambda place: odd_metadata(place, max(3, few))),
        "quota": _on_broker(lambda place: quota(place, AT_LEAST_ONCE)),
        "quota_exactly_once": _on_broker(lambda place: quota(place, EXACTLY_ONCE)),
        "connection_limit": lambda folder: connection_limit(folder, "t", AT_LEAST_ONCE, 4),
        "connection_limit_exactly_once": lambda folder: connection_limit(folder, "t", EXACTLY_ONCE, 12),
        "network_kafka": lambda folder: to_kafka(folder, "t", spells(2, 8), few, "the network to Kafka"),
        "network_server": _on_broker(
            lambda place: to_the_server(place, spells(2, 8), few, "the network to the server")
        ),
        "unread_log": _on_broker(lambda place: unread_log(place, few)),
        "few_threads": _on_broker(few_threads),
        "outage_of_many": _on_broker(lambda place: outage_of_many(place, max(30.0, long / 5))),
        "slow_core": _on_broker(lambda place: slow_core(place, AT_LEAST_ONCE, max(30.0, 2 * long))),
        "slow_core_exactly_once": _on_broker(lambda place: slow_core(place, EXACTLY_ONCE, max(30.0, 2 * long))),
        "slow_kafka": lambda folder: slow_for_long(folder, "t", long, int(2000 + 10 * long)),
        "page": _on_broker(lambda place: watched_for_long(place, long)),
        "pages": _on_broker(lambda place: many_pages(place, max(30_000, 3000 * size.times))),
        "sigterm": _on_broker(lambda place: stopped_at_points(place, few)),
        "sigterm_no_server": _on_broker(lambda place: stopped_without_a_server(place, few)),
        "sigterm_no_kafka": lambda folder: stopped_without_kafka(folder, "t", few),
        "sigstop": _on_broker(lambda place: frozen(place, few, 1, 8)),
        "clock": _on_broker(lambda place: clock_set_back(place, few)),
        "replicas": _on_broker(lambda place: changed(place, AT_LEAST_ONCE, changes)),
        "replicas_exactly_once": _on_broker(lambda place: changed(place, EXACTLY_ONCE, changes)),
        "servers": _on_broker(lambda place: survive(*place, (*QUICK, *SLOW), max(2, few))),
        "alerts": each_fires,
        "log_flood": _on_broker(fail_together),
        "rotation": _on_broker(lambda place: rotated(place, few)),
        "handover": _on_broker(lambda place: ended_at_points(place, AT_LEAST_ONCE, rounds)),
        "handover_exactly_once": _on_broker(lambda place: ended_at_points(place, EXACTLY_ONCE, rounds)),
    }


def _at(point: str) -> str:
    return f"`kill -9` at {point}"


def _on_broker(act: OnBroker) -> Act:
    def on_broker(folder: Path) -> object:
        with Broker(folder / "kafka") as broker:
            return act(Place(folder, broker.bootstrap, "t"))

    return on_broker


def main(arguments: Sequence[str]) -> int:
    """Run the chosen injections one after the other; return the exit code."""
    parser = argparse.ArgumentParser("torture")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--size", type=int, default=20)
    parser.add_argument("--only", default="", help="names with commas")
    parser.add_argument("--list", action="store_true")
    asked = parser.parse_args(arguments)
    possible = acts(Size(asked.kills, asked.size))
    if not can_mount():
        del possible["disk_full"]
        print("disk_full is left out: only root may mount a small disk", file=sys.stderr)
    if not can_limit():
        del possible["slow_core"], possible["slow_core_exactly_once"], possible["few_threads"]
        print(
            "slow_core, slow_core_exactly_once and few_threads are left out: this user may not make control groups",
            file=sys.stderr,
        )
    chosen = [name for name in asked.only.split(",") if name] or list(possible)
    if unknown := sorted(set(chosen) - set(possible)):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(possible)}")
    if asked.list:
        print("\n".join(chosen))
        return 0
    return _do_all({name: possible[name] for name in chosen})


def _do_all(chosen: dict[str, Act]) -> int:
    failed: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    print(f"logs in {folder}", file=sys.stderr)
    print(HEAD)
    for name, act in chosen.items():
        try:
            act(folder / name)
        except Exception:  # noqa: BLE001 - the others still run
            failed.append(name)
            print(f"| {name} | **FAILED**, see {folder / name} |")
            traceback.print_exc()
        sys.stdout.flush()
    print(f"failed: {', '.join(failed)}" if failed else "nothing lost, nothing altered")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
