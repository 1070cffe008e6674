"""Finds brokers that advertise an address which this machine cannot reach (``advertised.listeners``).

Clients ask a bootstrap address for the brokers, and then connect to the addresses that the brokers advertise. The
client itself reports a silent address only after 30 s.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from bridge.clock import monotonic
from bridge.kafka.config import admin_client

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
    attempts = [_Attempt(each, timeout) for each in brokers]
    end = monotonic() + timeout
    return tuple(each.broker.unreachable(why) for each in attempts if (why := each.failure(end)) is not None)


class _Attempt:
    """One connection on a thread of its own: a name lookup cannot be interrupted."""

    def __init__(self, broker: Advertised, timeout: float) -> None:
        self.broker = broker
        self._timeout = timeout
        self._failure: str | None = f"no answer within {timeout:g} s"
        self._thread = threading.Thread(target=self._run, name=f"broker {broker.broker}", daemon=True)
        self._thread.start()

    def failure(self, end: float) -> str | None:
        """Wait until ``end``, and return why the broker is not reached; None when it is."""
        self._thread.join(max(0.0, end - monotonic()))
        return self._failure

    def _run(self) -> None:
        host, _, port = self.broker.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), self._timeout).close()
        except TimeoutError:
            return
        except OSError as error:
            self._failure = error.strerror or str(error)
        else:
            self._failure = None
