"""The kinds of lists, and how lists and tables are read from text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from bridge.settings.kind import Check, Kind, as_text


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
            raise ValueError("is not a list of tables")  # noqa: TRY004 - pydantic takes ValueError alone for a finding
        return list(rows)

    def _show(self, value: Any) -> str:  # noqa: ANN401 - as the base
        return json.dumps([row.model_dump(exclude_none=True) for row in value])

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:  # noqa: ANN401 - pydantic's protocol
        """First this kind, then the model of a row."""
        return core_schema.no_info_before_validator_function(self.parse, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The schema of the rows."""
        return dict(handler(schema))


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
