"""Logging, as the settings ask for it, with every secret the settings hold masked."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, Secret, SecretStr

from bridge.observe.logs import configure

if TYPE_CHECKING:
    from bridge.settings import Settings

_HARMLESS = frozenset({"true", "false", "none"})


def start_logging(settings: Settings) -> None:
    """Send logs to stderr from here on, uncaught exceptions of all threads included."""
    configure(settings.log.level, settings.log.format, secrets=frozenset(secrets_of(settings)))
    sys.excepthook = _uncaught
    threading.excepthook = lambda died: _uncaught(died.exc_type, died.exc_value, died.exc_traceback)


def secrets_of(tree: BaseModel) -> Iterator[str]:
    """Every secret text in the settings; of an address only its user's password, of other texts no plain numbers."""
    for value in _leaves(tree):
        if isinstance(value, SecretStr):
            text = value.get_secret_value()
            if text.lower() not in _HARMLESS and not text.replace(".", "").isdigit():
                yield text
        elif isinstance(value, Secret):
            password = urlsplit(str(value.get_secret_value())).password
            if password:
                yield from {password, unquote(password)}


def _leaves(value: Any) -> Iterator[Any]:  # noqa: ANN401 - whatever stands in the tree
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _leaves(getattr(value, name))
    elif isinstance(value, dict):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, tuple):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    logging.getLogger("bridge").critical("a bug: please report it with this traceback", exc_info=(kind, error, trace))  # type: ignore[arg-type]  # a thread's hook may have no exception to show
