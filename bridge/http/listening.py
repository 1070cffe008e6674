"""The listening sockets of the HTTP endpoint."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
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
            opened.append(_open(family, (address[0], chosen, *address[2:])))
        except OSError as error:
            if error.errno in _NOT_HERE:
                missing = error
                continue
            _close(opened)
            raise
    if not opened:
        raise missing or OSError(errno.EADDRNOTAVAIL, "no address")
    return opened


def _open(family: int, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # each family has its own socket
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(128)
    except BaseException:
        made.close()
        raise
    return made


def _close(opened: list[socket.socket]) -> None:
    for each in opened:
        with suppress(OSError):
            each.close()


def _unusable(host: str, port: int, error: OSError) -> SettingsError:
    if error.errno == errno.EADDRINUSE:
        fix = "stop it (possibly a running mix-bridge), or choose another port, 0 for any free port, or none"
        return SettingsError.of("http.port", f"another program uses port {port} of {host}; {fix}")
    if error.errno == errno.EACCES:
        return SettingsError.of("http.port", f"this user may not use port {port}; choose one of 1024 to 65535")
    return SettingsError.of("http.host", f"cannot listen on {host}: {error.strerror}; give an address of this machine")
