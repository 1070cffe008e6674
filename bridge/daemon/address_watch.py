"""Follows the addresses of a server's name: after a change of environments (blue/green) the old ones may live on.

An old environment that still sends heartbeats keeps its connections for ever, and new events come from the new one.
So a connection ends once its address is not among those of the name any more.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import zlib
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Final
from urllib.parse import urlsplit

from structlog.stdlib import get_logger

from bridge.core.identity import SessionKey
from bridge.settings import ServerSettings

log = get_logger("bridge.source")

INTERVAL: Final = 15.0
"""Seconds between two lookups: resolvers answer from their cache, so a lookup costs little."""
_ANSWERS: Final = 3
"""Answers in a row without an address until its connections end: one answer may lack an address for a moment."""
_ROTATION: Final = 4
"""If an address comes back after that, the name's answers rotate: so many times more answers are needed."""
_MOST_ANSWERS: Final = 3072
_MOST_ADDRESSES: Final = 256
SPREAD: Final = 30.0
"""Seconds over which the sessions of a server end their connections: they must not all connect at once."""


class KnownAddresses:
    """The addresses that a name had, by its answers. Not for several threads."""

    def __init__(self) -> None:
        self._missing: dict[str, int] = {}
        self._needed = _ANSWERS

    def add(self, found: AbstractSet[str]) -> frozenset[str]:
        """The name has these addresses now. Returns those that it does not have any more.

        An empty answer shows nothing, and nothing is known about an address that the name never had.
        """
        if found:
            if not found.isdisjoint(self._gone()):
                self._needed = min(self._needed * _ROTATION, _MOST_ANSWERS)
            missing = {address: count + 1 for address, count in self._missing.items() if address not in found}
            newest = sorted(missing, key=missing.__getitem__)[:_MOST_ADDRESSES]
            self._missing = {address: missing[address] for address in newest} | dict.fromkeys(found, 0)
        return self._gone()

    def _gone(self) -> frozenset[str]:
        return frozenset(address for address, count in self._missing.items() if count >= self._needed)


class AddressWatch:
    """Looks the name of one server up at intervals. Without a name (an IP address) it does nothing.

    Thread rule: ``start`` and ``stop`` belong to one thread, ``has_gone`` to any: the known addresses are replaced as
    a whole.
    """

    def __init__(
        self,
        host: str | None,
        resolve: Callable[[str], AbstractSet[str]] | None = None,
        interval: float = INTERVAL,
    ) -> None:
        """``host``: the name that connections are made to, the proxy's if there is one."""
        self._host = None if host is None or _is_address(host) else host
        self._resolve = resolve or _addresses
        self._interval = interval
        self._known = KnownAddresses()
        self._gone: frozenset[str] = frozenset()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"addresses of {host}", daemon=True)

    def start(self) -> None:
        if self._host is not None:
            self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end. Nobody waits for it: the system's resolver may hang."""
        self._stopped.set()

    def has_gone(self, address: str | None) -> bool:
        return address in self._gone

    def _run(self) -> None:
        host = self._host or ""
        while not self._stopped.is_set():
            try:
                found = self._resolve(host)
            except (OSError, UnicodeError):  # the second: no name of a host, such as one with an empty label
                found = frozenset()  # connections that stand need no resolver
            gone = self._known.add(found)
            if gone - self._gone:
                log.info("addresses have gone from the server's name: their connections end", host=host)
            self._gone = gone
            self._stopped.wait(self._interval)


def watched_host(server: ServerSettings) -> str | None:
    """The name that connections to this server are made to."""
    return urlsplit((server.proxy or server.url).get_secret_value()).hostname


def own_delay(key: SessionKey) -> float:
    """Seconds after which a session follows a change of addresses, 0 to ``SPREAD``."""
    return zlib.crc32(key.record_key) / 2**32 * SPREAD


def _addresses(host: str) -> frozenset[str]:
    return frozenset(str(address[0]) for *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
