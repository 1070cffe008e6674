"""Finds brokers that advertise an address which this machine cannot reach (``advertised.listeners``).

Clients ask a bootstrap address for the brokers, and then connect to the addresses that the brokers advertise. The
client itself reports a silent address only after 30 s.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from concurrent.futures import wait
from functools import partial
from itertools import starmap
from typing import Any, NamedTuple

from bridge.clock import monotonic
from bridge.kafka.config import admin_client, in_thread

_METADATA, _CONNECT = 2.0, 2.0
"""Seconds for the list of the brokers, and for a connection to each of them."""
_LATE = f"no answer within {_CONNECT:g} s"
_POLL = 0.05
"""Seconds between two looks at the client's statistics."""


class Advertised(NamedTuple):
    """The address that one broker advertises: ``host:port``."""

    broker: int
    address: str

    def unreachable(self, why: str) -> str:
        """Return the problem as one line."""
        return f"broker {self.broker} advertises {self.address}, which cannot be reached: advertised.listeners ({why})"


def unreachable_brokers(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Connect to all brokers at the same time; return one line for each that cannot be reached.

    The addresses are those that a new client learns, from its statistics: once it knows the brokers, it may send no
    request to a bootstrap address any more. Blocks for 4 s at most.
    """
    learned: dict[int, str] = {}

    def note(statistics: str) -> None:
        brokers = json.loads(statistics)["brokers"].values()
        learned.update({each["nodeid"]: each["nodename"] for each in brokers if each["nodeid"] >= 0})

    client = admin_client({**config, "stats_cb": note, "statistics.interval.ms": 50})
    end = monotonic() + _METADATA
    while not learned and monotonic() < end:
        client.poll(_POLL)
    answers = [(each, in_thread(partial(_failure, each))) for each in starmap(Advertised, sorted(learned.items()))]
    wait([answer for _, answer in answers], _CONNECT)  # a name lookup cannot be interrupted
    failures = [(each, answer.result() if answer.done() else _LATE) for each, answer in answers]
    return tuple(each.unreachable(why) for each, why in failures if why is not None)


def _failure(broker: Advertised) -> str | None:
    host, _, port = broker.address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT).close()
    except TimeoutError:
        return _LATE
    except OSError as error:
        return error.strerror or str(error)
    return None
