"""TLS to a server, as its settings say."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.settings.server import ServerSettings


def tls_context(server: ServerSettings) -> ssl.SSLContext | None:
    """A context for all connections to a server; None when its settings name no certificate (the library's default).

    Reads the files. Raises OSError (ssl.SSLError for files that are no certificates, or do not belong together).
    """
    if server.ca_file is None and server.client_cert_file is None:
        return None
    context = ssl.create_default_context(cafile=str(server.ca_file) if server.ca_file else None)
    if server.client_cert_file is not None and server.client_key_file is not None:
        # Without a password callback OpenSSL would ask for one on the terminal, and a daemon would hang there
        context.load_cert_chain(server.client_cert_file, server.client_key_file, password=lambda: "")
    return context
