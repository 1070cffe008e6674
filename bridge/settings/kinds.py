"""What a setting may be: one `Kind` per sort of value, put beside the type in ``Annotated``.

A kind reads what any source gives (text of a variable, a TOML number, a JSON list), says in one line what is allowed,
and writes a value the way a person would. Messages never contain the value: whether it may be shown is known only where
the mistake is put together.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, SecretStr
from pydantic_core import core_schema

from bridge.settings.addresses import Address
from bridge.settings.quantities import format_duration, format_size, parse_duration, parse_size

Check = Callable[[str], None]
"""Raises ValueError with what is wrong with a text, as the end of a sentence that begins with the value."""


class NotInThisVersion(ValueError):
    """The interface promises this key or value, this version does not have it: refused, never accepted and ignored."""

    def __init__(self) -> None:
        super().__init__("is not in this version")


def as_text(value: object) -> str:
    """The text of a scalar: what TOML and JSON give as numbers is written as a variable would give it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float | Path):
        return str(value)
    raise ValueError("is not a text")


@dataclass(frozen=True)
class Kind:
    """Base of all kinds. `optional` ones also take the word ``none``, which is how a stronger source takes it back."""

    optional: bool = False

    secret = False

    @property
    def allowed(self) -> str:
        """What is allowed, as the end of a line of a mistake."""
        return f"{self._allowed()}, or none" if self.optional else self._allowed()

    def parse(self, value: object) -> Any:  # noqa: ANN401 - each kind has its own type; the model states it
        """The setting's value, or ValueError with what is wrong (never with the value)."""
        if value is None or (self.optional and isinstance(value, str) and value.strip().lower() == "none"):
            if not self.optional:
                raise ValueError("is not allowed")
            return None
        return self._parse(value)

    def show(self, value: Any) -> str:  # noqa: ANN401 - as above
        """The value as text that `parse` reads back; secrets masked."""
        return "none" if value is None else self._show(value)

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema of what TOML and JSON may give."""
        schema = self._json_schema()
        return {"anyOf": [schema, {"const": "none"}]} if self.optional else schema

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:  # noqa: ANN401 - pydantic's protocol
        """Validation is `parse` and nothing else: pydantic's own would take ``true`` for a number."""
        return core_schema.no_info_plain_validator_function(self.parse)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The schema of the source texts, not of the parsed value."""
        return self.json_schema()

    def _allowed(self) -> str:
        raise NotImplementedError

    def _parse(self, value: object) -> Any:  # noqa: ANN401 - as above
        raise NotImplementedError

    def _show(self, value: Any) -> str:  # noqa: ANN401 - as above
        return str(value)

    def _json_schema(self) -> dict[str, Any]:
        return {"type": "string"}


@dataclass(frozen=True, kw_only=True)
class Text(Kind):
    """A text that passes a check."""

    what: str
    check: Check
    empty: bool = False

    def _allowed(self) -> str:
        return self.what

    def _parse(self, value: object) -> str:
        text = as_text(value)
        if not text and not self.empty:
            raise ValueError("is empty")
        self.check(text)
        return text


@dataclass(frozen=True, kw_only=True)
class Hidden(Text):
    """A secret text: never shown, neither when it is wrong nor when all settings are."""

    secret = True

    def _parse(self, value: object) -> Any:  # noqa: ANN401 - SecretStr where the base gives str
        return SecretStr(super()._parse(value))

    def _json_schema(self) -> dict[str, Any]:
        return {"type": "string", "writeOnly": True}


@dataclass(frozen=True, kw_only=True)
class Web(Kind):
    """An http or https address, whose credentials, if it has any, are a secret."""

    path: bool = True

    def _allowed(self) -> str:
        tail = "host[:port][/path]" if self.path else "host[:port]"
        return f"http:// or https:// and {tail}, without query and fragment"

    def _parse(self, value: object) -> Address:
        return value if isinstance(value, Address) else Address.parse(as_text(value), path=self.path)

    def _json_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^https?://"}


@dataclass(frozen=True, kw_only=True)
class File(Kind):
    """A path; whether it can be read is found out after all values are known."""

    def _allowed(self) -> str:
        return "the path of a readable file"

    def _parse(self, value: object) -> Path:
        if not isinstance(value, str | Path) or not str(value):
            raise ValueError("is not a path")
        if "\0" in str(value):
            raise ValueError("has a NUL character")
        return Path(value)


@dataclass(frozen=True, kw_only=True)
class Flag(Kind):
    """Yes or no."""

    later: bool | None = None

    def _allowed(self) -> str:
        return "true or false" if self.later is None else str(not self.later).lower()

    def _parse(self, value: object) -> bool:
        flag = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise ValueError("is not allowed")
        found = flag.get(as_text(value).strip().lower())
        if found is None:
            raise ValueError("is not allowed")
        if found is self.later:
            raise NotInThisVersion
        return found

    def _show(self, value: Any) -> str:  # noqa: ANN401 - as the base
        return "true" if value else "false"

    def _json_schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, kw_only=True)
class Number(Kind):
    """A whole number within bounds."""

    low: int
    high: int

    def _allowed(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def _parse(self, value: object) -> int:
        text = as_text(value).strip()
        if isinstance(value, bool) or not text.lstrip("-").isascii() or not text.lstrip("-").isdigit():
            raise ValueError("is not a whole number")
        if len(text) > len(str(self.high)) + 1 or not self.low <= int(text) <= self.high:
            raise ValueError("is out of range")
        return int(text)

    def _json_schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, kw_only=True)
class Duration(Kind):
    """A time span within bounds; seconds inside the program."""

    low: str = "1ms"
    high: str = "24h"

    def _allowed(self) -> str:
        return f"a duration such as 500ms, 10s, 2m, 24h or plain seconds, from {self.low} to {self.high}"

    def _parse(self, value: object) -> float:
        if isinstance(value, bool):
            raise ValueError("is not a duration")
        seconds = parse_duration(as_text(value))
        if not parse_duration(self.low) <= seconds <= parse_duration(self.high):
            raise ValueError("is out of range")
        return seconds

    def _show(self, value: Any) -> str:  # noqa: ANN401 - as the base
        return format_duration(value)

    def _json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h)?$"}]}


@dataclass(frozen=True, kw_only=True)
class Size(Kind):
    """A number of bytes within bounds."""

    low: str
    high: str

    def _allowed(self) -> str:
        return f"a size such as 64KiB, 1MiB or plain bytes, from {self.low} to {self.high}"

    def _parse(self, value: object) -> int:
        if isinstance(value, bool):
            raise ValueError("is not a size")
        size = parse_size(as_text(value))
        if not parse_size(self.low) <= size <= parse_size(self.high):
            raise ValueError("is out of range")
        return size

    def _show(self, value: Any) -> str:  # noqa: ANN401 - as the base
        return format_size(value)

    def _json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$"}]}


@dataclass(frozen=True, kw_only=True)
class Choice(Kind):
    """One of a few words, capitals or not; `later` ones are promised but not in this version."""

    words: tuple[str, ...]
    later: tuple[str, ...] = ()

    def _allowed(self) -> str:
        return " or ".join(filter(None, [", ".join(self.words[:-1]), self.words[-1]]))

    def _parse(self, value: object) -> str:
        known = {word.lower(): word for word in self.words + self.later}
        found = known.get(as_text(value).strip().lower())
        if found is None:
            raise ValueError("is not allowed")
        if found in self.later:
            raise NotInThisVersion
        return found

    def _json_schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


@dataclass(frozen=True, kw_only=True)
class Texts(Kind):
    """A list of texts: a JSON or TOML list, or a text with commas."""

    what: str
    check: Check

    def _allowed(self) -> str:
        return f"a list (JSON or commas) of {self.what}, none twice"

    def _parse(self, value: object) -> tuple[str, ...]:
        items = tuple(as_text(item) for item in split_list(value))
        for item in items:
            if not item:
                raise ValueError("has an empty item")
            self.check(item)
        if len(set(items)) < len(items):
            raise ValueError("has an item twice")
        return items

    def _show(self, value: Any) -> str:  # noqa: ANN401 - as the base
        return json.dumps(list(value))

    def _json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "array", "items": {"type": "string"}, "uniqueItems": True}, {"type": "string"}]}


@dataclass(frozen=True, kw_only=True)
class Joined(Texts):
    """A list like `Texts` that the program wants as one text with commas; empty means not given."""

    def _parse(self, value: object) -> Any:  # noqa: ANN401 - str where the base gives a tuple
        items = super()._parse(value)
        if not items:
            raise ValueError("is empty")
        return ",".join(items)

    def _show(self, value: Any) -> str:  # noqa: ANN401 - as the base
        return str(value)


@dataclass(frozen=True, kw_only=True)
class Rows(Kind):
    """A list of tables, each checked by its own model after this kind has read the JSON of a text source."""

    what: str

    def _allowed(self) -> str:
        return self.what

    def _parse(self, value: object) -> list[Any]:
        if isinstance(value, str) and not value.strip():
            return []
        rows = json_value(value) if isinstance(value, str) else value
        if not isinstance(rows, list | tuple):
            raise ValueError("is not a list of tables")
        return list(rows)

    def _show(self, value: Any) -> str:  # noqa: ANN401 - as the base
        return json.dumps([row.model_dump(exclude_none=True) for row in value])

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:  # noqa: ANN401 - pydantic's protocol
        """This kind first, then the model of a row."""
        return core_schema.no_info_before_validator_function(self.parse, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The schema of the rows."""
        return dict(handler(schema))


@dataclass(frozen=True, kw_only=True)
class Later(Kind):
    """A key of the interface that this version does not have: every value is refused."""

    def _allowed(self) -> str:
        return "not in this version"

    def _parse(self, value: object) -> None:
        raise NotInThisVersion

    def json_schema(self) -> dict[str, Any]:
        """No value is valid."""
        return {"not": {}}


def json_value(text: str) -> Any:  # noqa: ANN401 - JSON
    """The JSON in a text. ValueError without the text itself, which may hold a secret."""
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError("is not JSON") from None


def split_list(value: object) -> list[object]:
    """The items of a list given as a list, as JSON or with commas; an empty text is an empty list."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = json_value(value)
    if isinstance(value, str):
        return [item.strip() for item in value.split(",")] if value.strip() else []
    if isinstance(value, list | tuple):
        return list(value)
    raise ValueError("is not a list")
