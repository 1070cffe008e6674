"""The checks of ``mix-bridge check`` that open no connection: settings, files, and the configuration of the client.

Not even what it imports may open one, as urllib3 does: ``--offline`` works where no socket is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from bridge.admin.check.line import Line, State, line_of
from bridge.admin.text import counted
from bridge.clock import unix_ms
from bridge.kafka.config import client_config, judge_offline
from bridge.settings import Loaded
from bridge.settings.files import WARN_DAYS, expiries, named_files
from bridge.settings.quotes import quoted_secrets

CLIENT_ID: Final = "mix-bridge-check"
_DAY: Final = 86_400


def check_offline(loaded: Loaded) -> tuple[Line, ...]:
    """Return the lines of everything that can be checked without a socket. Raises ``SettingsError`` as a start does.

    Settings that name a file which cannot be read or used are refused when they are loaded, before this.
    """
    settings = loaded.settings
    judge_offline(client_config(settings.kafka, CLIENT_ID))
    kafka = f"the client accepts its settings; {settings.kafka.bootstrap_servers} was not asked"
    urls = {name: server.url.public for name, server in settings.servers.items()}
    servers = [Line(f"server {name}", State.OK, f"{url} was not asked") for name, url in urls.items()]
    return (*local_lines(loaded), Line("kafka", State.OK, kafka), *servers)


def local_lines(loaded: Loaded) -> Iterator[Line]:
    """The settings are valid and their files could be read; secrets in quotes and old certificates are warnings."""
    settings = loaded.settings
    yield Line("settings", State.OK, f"namespace {settings.namespace}, servers: {', '.join(sorted(settings.servers))}")
    for each in quoted_secrets(settings):
        yield line_of("settings", each, each.message, State.WARNING)
    if count := len([*named_files(settings)]):
        yield Line("files", State.OK, f"{counted(count, 'file')} can be read")
    yield from expiring(expiries(loaded.contents), unix_ms() / 1000)


def expiring(expires: Mapping[str, float], now: float) -> Iterator[Line]:
    """Return a warning for each certificate that has expired or soon will; times are Unix seconds."""
    for key, moment in expires.items():
        days = (moment - now) / _DAY
        if days < WARN_DAYS:
            detail = f"a certificate expires in {days:.0f} days" if days > 0 else "a certificate has expired"
            yield Line("files", State.WARNING, detail, f"replace the file that {key} names")
