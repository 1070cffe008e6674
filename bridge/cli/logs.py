"""Logging as the settings ask for it, with every secret of the settings masked."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pydantic import Secret, SecretStr

from bridge.observe.logs import Redaction, configure
from bridge.settings.catalogue import values
from bridge.settings.properties import is_secret

if TYPE_CHECKING:
    from bridge.settings import Loaded, Settings

_NOT_SECRET = frozenset({"true", "false", "none"})


def start_logging(settings: Settings) -> Redaction:
    """Send logs to stderr from now on, including uncaught exceptions of all threads. Returns what masks secrets."""
    redaction = configure(settings.log.level, settings.log.format, secrets=frozenset(secrets_of(settings)))
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    return redaction


def start_command_logging(settings: Settings) -> None:
    """Start logging without the lines of Kafka's client: the command itself reports what they say."""
    start_logging(settings)
    if settings.log.level != "debug":
        logging.getLogger("bridge.kafka.librdkafka").setLevel(logging.CRITICAL)


def secrets_of(settings: Settings) -> Iterator[str]:
    """Every secret text of the settings: of a URL only its password, of other texts those that are not numbers."""
    for path, value in values(settings):
        is_shown = path[:2] == ("kafka", "properties") and not is_secret(path[-1])
        if isinstance(value, SecretStr) and not is_shown:
            text = value.get_secret_value()
            if text.lower() not in _NOT_SECRET and not text.replace(".", "").isdigit():
                yield text
        elif isinstance(value, Secret | SecretStr):
            with suppress(ValueError):  # a property that is no URL
                if password := urlsplit(str(value.get_secret_value())).password:
                    yield from {password, unquote(password)}


def secrets_of_files(loaded: Loaded) -> Iterator[str]:
    """The secrets that only files hold: the tree has the others."""
    for path, content in loaded.contents.items():
        if path[-1] == "token_file":
            yield content.decode(errors="replace").strip()


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    logging.getLogger("bridge").critical("a bug: please report it with this traceback", exc_info=(kind, error, trace))  # type: ignore[arg-type]  # a thread's hook may have no exception
