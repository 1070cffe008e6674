"""One server of the settings, for tests of parts of the daemon."""

from __future__ import annotations

from typing import Any

from bridge.daemon.source import Source
from bridge.settings import load


def source(url: str, name: str = "local", **more: object) -> Source:
    """A server with short reconnection times; ``more``: its other settings."""
    values: dict[str, Any] = {
        "kafka.bootstrap_servers": "127.0.0.1:9",
        f"servers.{name}.url": url,
        f"servers.{name}.reconnect_min": "20ms",
        f"servers.{name}.reconnect_max": "40ms",
    }
    return Source(name, load(values | {f"servers.{name}.{key}": value for key, value in more.items()}, {}))
