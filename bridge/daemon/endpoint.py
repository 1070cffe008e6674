"""The HTTP endpoint as the settings ask for it."""

from __future__ import annotations

from collections.abc import Callable

from bridge.core.snapshot import BridgeSnapshot
from bridge.observe.api import HttpEndpoint
from bridge.observe.health import Verdict
from bridge.observe.log_levels import LogLevels
from bridge.settings import Settings
from bridge.settings.tls import ServerTls, server_context
from bridge.settings.values import plain


def server_tls(settings: Settings) -> ServerTls | None:
    """TLS of the HTTP endpoint; None for plain HTTP. Raises ``SettingsError``."""
    http = settings.http
    return None if http.cert_file is None else ServerTls(server_context(http.cert_file, http.key_file))


def http_endpoint(
    settings: Settings,
    snapshot: Callable[[], BridgeSnapshot],
    live: Callable[[], Verdict],
    levels: LogLevels,
    tls: ServerTls | None,
) -> HttpEndpoint | None:
    """The endpoint; None if the settings disable it."""
    http = settings.http
    if http.port is None:
        return None
    token = plain(http.token)
    return HttpEndpoint(http.host, http.port, token, snapshot, levels, None if tls is None else tls.context, live)
