"""The listening socket of the HTTP endpoint."""

from __future__ import annotations

import errno
import socket
from typing import cast

from bridge.errors import SettingsError


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises ``SettingsError`` when the host or the port cannot be used."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        dual = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server(cast("tuple[str, int]", address[:2]), family=family, dualstack_ipv6=dual)
    except OSError as error:
        raise _unusable(host, port, error) from error


def _unusable(host: str, port: int, error: OSError) -> SettingsError:
    if error.errno == errno.EADDRINUSE:
        fix = "stop it (possibly a running mix-bridge), or choose another port, 0 for any free port, or none"
        return SettingsError.of("http.port", f"another program uses port {port} of {host}; {fix}")
    if error.errno == errno.EACCES:
        return SettingsError.of("http.port", f"this user may not use port {port}; choose one of 1024 to 65535")
    return SettingsError.of("http.host", f"cannot listen on {host}: {error.strerror}; give an address of this machine")
