"""Values in quotes: ``docker run --env-file`` and systemd's credentials keep the quotes that a shell would remove.

A URL or a name never is in quotes, so it is refused. A secret may be, so it is only reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, SecretStr

from bridge.errors import Mistake
from bridge.settings.catalogue import Path, dotted, place_at
from bridge.settings.describe import is_secret, is_table
from bridge.settings.model import Settings
from bridge.settings.origins import Given
from bridge.settings.values import read_secret

_FREE_TEXTS = frozenset({"end_after", "start_after_id"})
"""Keys whose values are a server's own texts."""
_HINT = "remove them: the reader of an env file or of a credential keeps quotes"


def quoted_values(given: Mapping[Path, Given], wrong: set[Path]) -> Iterator[Mistake]:
    """A mistake for each value in quotes that is neither a secret nor free text. ``wrong`` ones have a mistake."""
    for path, (value, origin) in ((path, (each.value, each.origin)) for path, each in given.items()):
        if path in wrong or path[-1:] == () or path[-1] in _FREE_TEXTS or not isinstance(value, str):
            continue
        annotation = place_at(path).annotation
        if is_in_quotes(value) and not is_secret(annotation) and not is_table(annotation):
            yield Mistake(dotted(path), f"the value is in quotes; {_HINT} (from {origin})")


def quoted_secrets(settings: Settings) -> Iterator[Mistake]:
    """A warning for each secret that begins and ends with the same quote."""
    for path, secret in _secrets(settings, ()):
        if is_in_quotes(secret):
            yield Mistake(
                dotted(path), f"the value (not shown) begins and ends with a quote; if it should not, {_HINT}"
            )


def is_in_quotes(text: str) -> bool:
    """Whether a text begins and ends with the same quote."""
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"


def _secrets(node: Any, path: Path) -> Iterator[tuple[Path, str]]:  # noqa: ANN401 - a group, table or value
    if isinstance(node, SecretStr):
        yield path, node.get_secret_value()
    elif isinstance(node, BaseModel):
        for name in type(node).model_fields:
            yield from _secrets(getattr(node, name), (*path, name))
        yield from _token_in_a_file(node, path)
    elif isinstance(node, dict):
        for name, each in node.items():
            yield from _secrets(each, (*path, name))


def _token_in_a_file(node: BaseModel, path: Path) -> Iterator[tuple[Path, str]]:
    """A server's token is read at every connect; a pipe can be read only once."""
    file = getattr(node, "token_file", None)
    if path[:1] == ("servers",) and file is not None and file.is_file():
        with suppress(OSError):
            yield (*path, "token_file"), read_secret(file)
