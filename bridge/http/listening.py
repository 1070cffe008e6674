"""The listening sockets of the HTTP endpoint."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from bridge.errors import SettingsError

_ANY_IPV6, _ANY_IPV4 = "::", "0.0.0.0"  # noqa: S104 - what the settings ask for
_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""The machine has no such address, or no IPv6 at all."""
_ATTEMPTS = 10
"""For a port that is free at all addresses of a host name."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Open a listening socket for each address of the host that this machine has, all with the same port.

    ``::`` listens on IPv6 and IPv4, and on IPv4 alone where the machine has no IPv6. Raises ``SettingsError`` when the
    host or the port cannot be used.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return _listen(_addresses(host, port), port)
        except OSError as error:
            is_last = port != 0 or attempt == _ATTEMPTS - 1 or error.errno != errno.EADDRINUSE
            if is_last:
                raise _unusable(host, port, error) from error
    raise AssertionError  # pragma: no cover - the last attempt raises


def _addresses(host: str, port: int) -> list[tuple[int, Any]]:
    """The families and addresses, each once."""
    hosts = [_ANY_IPV6, _ANY_IPV4] if host == _ANY_IPV6 else [host]
    found = [
        (family, address)
        for each in hosts
        for family, _, _, _, address in socket.getaddrinfo(each, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    ]
    return list(dict.fromkeys(found))


def _listen(addresses: list[tuple[int, Any]], port: int) -> list[socket.socket]:
    """Listen on all; without those that this machine does not have, unless it has none."""
    opened: list[socket.socket] = []
    missing: OSError | None = None
    for family, address in addresses:
        chosen = opened[0].getsockname()[1] if opened else port
        try:
            at = (address[0], chosen, *address[2:])
            opened.append(socket.create_server(at, family=family, backlog=128))  # each family has its own socket
        except OSError as error:
            if error.errno in _NOT_HERE:
                missing = error
                continue
            for each in opened:
                each.close()
            raise
    if not opened:
        raise missing or OSError(errno.EADDRNOTAVAIL, "no address")
    return opened


def _unusable(host: str, port: int, error: OSError) -> SettingsError:
    if error.errno == errno.EADDRINUSE:
        fix = "stop it (possibly a running mix-bridge), or choose another port, 0 for any free port, or none"
        return SettingsError.of("http.port", f"another program uses port {port} of {host}; {fix}")
    if error.errno == errno.EACCES:
        return SettingsError.of("http.port", f"this user may not use port {port}; choose one of 1024 to 65535")
    # A name that is not resolved has negative numbers of its own, and create_server adds the address to the text.
    reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
    return SettingsError.of("http.host", f"cannot listen on {host}: {reason}; give an address of this machine")
