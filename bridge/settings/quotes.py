"""Values in quotes: ``docker run --env-file`` and systemd's credentials keep the quotes that a shell would remove.

A URL or a name never is in quotes, so it is refused. A secret may be, so it is only reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path as FilePath

from pydantic import SecretStr

from bridge.errors import Mistake
from bridge.settings.catalogue import Path, dotted, values
from bridge.settings.mistakes import Given
from bridge.settings.model import Settings
from bridge.settings.values import read_secret

_FREE_TEXTS = frozenset({"end_after", "start_after_id"})
"""Keys whose values are a server's own texts."""
_HINT = "remove them: the reader of an env file or of a credential keeps quotes"


def quoted_values(given: Mapping[Path, Given], wrong: set[Path]) -> Iterator[Mistake]:
    """A mistake for each value in quotes that is neither a secret nor free text. ``wrong`` ones have a mistake."""
    for path, each in given.items():
        if path in wrong or path[-1] in _FREE_TEXTS or not isinstance(each.value, str):  # secrets are no str by now
            continue
        if is_in_quotes(each.value):
            yield Mistake(dotted(path), f"the value is in quotes; {_HINT} (from {each.origin})")


def quoted_secrets(settings: Settings) -> Iterator[Mistake]:
    """A warning for each secret that begins and ends with the same quote."""
    for path, value in values(settings):
        if is_in_quotes(_secret(path, value)):
            yield Mistake(
                dotted(path), f"the value (not shown) begins and ends with a quote; if it should not, {_HINT}"
            )


def is_in_quotes(text: str) -> bool:
    """Whether a text begins and ends with the same quote."""
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"


def _secret(path: Path, value: object) -> str:
    """The secret in a value, if it is one: a server's token is read at every connect; a pipe can be read only once."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if path[0] == "servers" and path[-1] == "token_file" and isinstance(value, FilePath) and value.is_file():
        with suppress(OSError):
            return read_secret(value)
    return ""
