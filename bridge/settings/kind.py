"""What a setting may be: the base of all kinds, one of which is put beside the type in ``Annotated``.

A kind reads what any source gives (text of a variable, a TOML number, a JSON list), says in one line what is allowed,
and writes a value the way a person would. Messages never contain the value: whether it may be shown is known only where
the mistake is put together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, SecretStr
from pydantic_core import core_schema

Check = Callable[[str], None]
"""Raises ValueError with what is wrong with a text, as the end of a sentence that begins with the value."""


def as_text(value: object) -> str:
    """The text of a scalar: what TOML and JSON give as numbers is written as a variable would give it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float | Path):
        return str(value)
    raise ValueError("is not a text")


class Group(BaseModel):
    """A group of settings; unknown keys are refused and no error quotes what was given."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


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
        plain = value.get_secret_value() if isinstance(value, SecretStr) else value
        if self.optional and isinstance(plain, str) and plain.strip().lower() == "none":
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
