"""Finds brokers that advertise an address which this machine cannot reach (``advertised.listeners``).

Clients ask a bootstrap address for the brokers, and then connect to the addresses that the brokers advertise. The
client itself reports a silent address only after 30 s.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from concurrent.futures import wait
from functools import partial
from typing import Any, NamedTuple

from bridge.clock import monotonic
from bridge.kafka.config import admin_client, in_thread

_POLL = 0.05
"""Seconds between two looks at the client's statistics."""


class Advertised(NamedTuple):
    """The address that one broker advertises: ``host:port``."""

    broker: int
    address: str

    def unreachable(self, why: str) -> str:
        """Return the problem as one line."""
        return f"broker {self.broker} advertises {self.address}, which cannot be reached: advertised.listeners ({why})"


def advertised_by(config: Mapping[str, Any], timeout: float) -> list[Advertised]:
    """Return the addresses that a new client learns within ``timeout`` seconds.

    From its statistics: once it knows the brokers, it may send no request to a bootstrap address any more.
    """
    learned: dict[int, str] = {}

    def note(statistics: str) -> None:
        brokers = json.loads(statistics)["brokers"].values()
        learned.update({each["nodeid"]: each["nodename"] for each in brokers if each["nodeid"] >= 0})

    client = admin_client(dict(config) | {"stats_cb": note, "statistics.interval.ms": 50})
    end = monotonic() + timeout
    while not learned and monotonic() < end:
        client.poll(_POLL)
    return [Advertised(*each) for each in sorted(learned.items())]


def unreachable_brokers(brokers: Iterable[Advertised], timeout: float) -> tuple[str, ...]:
    """Connect to all brokers at the same time; return one line for each that does not accept within ``timeout`` s."""
    answers = [(each, in_thread(partial(_failure, each, timeout))) for each in brokers]
    wait([answer for _, answer in answers], timeout)  # a name lookup cannot be interrupted
    late = f"no answer within {timeout:g} s"
    failures = [(each, answer.result() if answer.done() else late) for each, answer in answers]
    return tuple(each.unreachable(why) for each, why in failures if why is not None)


def _failure(broker: Advertised, timeout: float) -> str | None:
    host, _, port = broker.address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout).close()
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except OSError as error:
        return error.strerror or str(error)
    return None
