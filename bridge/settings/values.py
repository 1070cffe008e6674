"""Types of settings: pydantic's own, with validators that read the values of any source (texts, numbers, lists).

No message of a validator contains the value: only the place that words a mistake knows whether it may be shown.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
    WithJsonSchema,
)
from pydantic_core import core_schema

from bridge.settings import checks
from bridge.settings.addresses import Address
from bridge.settings.quantities import format_duration, format_size, parse_duration, parse_size

T = TypeVar("T")


class Group(BaseModel):
    """A group of settings; unknown keys are refused and no error quotes an input."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class Allowed:
    """Describes the allowed values, where the type and its bounds do not."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """Reads a text that stands for a value, before that is validated; both are in the JSON Schema."""

    read: Callable[[object], object]
    text_schema: dict[str, str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:  # noqa: ANN401 - pydantic's protocol
        return core_schema.no_info_before_validator_function(self.read, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [handler(schema), self.text_schema]}


@dataclass(frozen=True, slots=True, eq=False)
class Quantity(Reader):
    """How a number with a unit is read and shown."""

    allowed: str
    show: Callable[[Any], str]

    @classmethod
    def of(cls, parse: Callable[[str], float], show: Callable[[Any], str], allowed: str, pattern: str) -> Quantity:
        """``pattern``: of the text in the JSON Schema: ECMA 262, which editors use."""

        def read(value: object) -> float:
            return parse("" if isinstance(value, bool) else as_text(value))

        return cls(read, {"type": "string", "pattern": pattern}, allowed, show)


def plain(secret: SecretStr | None) -> str | None:
    """The text of a secret; None if there is none, or an empty one."""
    return secret.get_secret_value() if secret else None


def as_text(value: object) -> str:
    """The text of a scalar: a number or boolean of TOML and JSON is written as a variable would give it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float | Path):
        return str(value)
    raise ValueError("is not a text")


def json_value(text: str) -> Any:  # noqa: ANN401 - JSON
    """The JSON in a text. ValueError without the text itself, which may hold a secret."""
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError("is not JSON") from None


def split_list(value: object) -> tuple[str, ...]:
    """The items of a list given as a list, as JSON or with commas; an empty text is an empty list."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = json_value(value)
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",")) if value.strip() else ()
    if not isinstance(value, list | tuple):
        raise ValueError("is not a list")  # noqa: TRY004 - pydantic reports only ValueError
    return tuple(as_text(item) for item in value)


def _none_word(value: object) -> object:
    plain = value.get_secret_value() if isinstance(value, SecretStr) else value
    return None if isinstance(plain, str) and plain.strip().lower() == "none" else value


def _whole_number(value: object) -> str:
    text = as_text(value).strip()
    if isinstance(value, bool) or not re.fullmatch("-?[0-9]{1,18}", text):  # int alone accepts true, 1_000 and 80.0
        raise ValueError("is not a whole number")
    return text


def _flag(value: object) -> str:
    # bool alone accepts 0 and 1, but the JSON Schema does not
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError("is not allowed")  # noqa: TRY004 - pydantic reports only ValueError
    return as_text(value).strip().lower()


def _workers(value: object) -> object:
    is_auto = isinstance(value, str) and value.strip().lower() == "auto"
    return len(os.sched_getaffinity(0)) if is_auto else _whole_number(value)


def _rows(value: object) -> list[Any]:
    if isinstance(value, str):
        value = json_value(value) if value.strip() else []
    if not isinstance(value, list | tuple):
        raise ValueError("is not a list of tables")  # noqa: TRY004 - pydantic reports only ValueError
    return list(value)


def _file_path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("is not a path")
    return Path(checks.any_text(str(value)))


def _brokers(value: object) -> str:
    return ",".join(checks.not_empty(_checked_items(checks.broker, split_list(value))))


def _checked_items(check: Callable[[str], str], items: tuple[str, ...]) -> tuple[str, ...]:
    for item in items:
        if not item:
            raise ValueError("has an empty item")
        check(item)
    if len(set(items)) < len(items):
        raise ValueError("has an item twice")
    return items


def each(check: Callable[[str], str]) -> AfterValidator:
    """Check each item of a list; none may be empty or there twice."""
    return AfterValidator(lambda items: _checked_items(check, items))


# Validators and metadata of types

TEXT = BeforeValidator(as_text)
LOWER = BeforeValidator(lambda value: as_text(value).strip().lower())
UPPER = BeforeValidator(lambda value: as_text(value).strip().upper())
WHOLE = BeforeValidator(_whole_number)
ROWS = BeforeValidator(_rows)
NONE = Reader(_none_word, {"const": "none"})
"""The word ``none`` unsets an optional value, so that a stronger source can cancel a weaker one."""
NOT_EMPTY = AfterValidator(checks.not_empty)
DURATION = Quantity.of(
    parse_duration,
    format_duration,
    "a duration such as 500ms, 10s, 2m, 24h, 7d or plain seconds",
    r"^\d+(\.\d+)?(ms|s|m|h|d)?$",
)
SIZE = Quantity.of(parse_size, format_size, "a size such as 64KiB, 1MiB or plain bytes", "^[0-9]+(B|KiB|MiB|GiB)?$")

_JSON_NAME = WithJsonSchema({"type": "string", "pattern": "^[a-zA-Z0-9._-]+$"})
_JSON_TEXT = WithJsonSchema({"type": "string"})
_JSON_SECRET = WithJsonSchema({"type": "string", "writeOnly": True})
_JSON_ADDRESS = WithJsonSchema({"type": "string", "pattern": "^https?://"})
_JSON_LIST = WithJsonSchema(
    {"anyOf": [{"type": "array", "items": {"type": "string"}, "uniqueItems": True}, {"type": "string"}]}
)

# Types of several settings

_PRINTABLE = Allowed("a text without control characters")
_URL = "http:// or https:// and host[:port]{}, without query and fragment"

OrNone = Annotated[T | None, NONE]
Texts = Annotated[tuple[str, ...], BeforeValidator(split_list), _JSON_LIST]
Flag = Annotated[bool, BeforeValidator(_flag)]
AnyDuration = Annotated[float, Field(ge=0.001, le=86_400), DURATION]
FilePath = Annotated[Path, BeforeValidator(_file_path), _JSON_TEXT, Allowed("the path of a readable file")]
PrintableText = Annotated[str, TEXT, AfterValidator(checks.any_text), _PRINTABLE]
_Name = Annotated[str, TEXT, NOT_EMPTY, _JSON_NAME]
_LONG_NAME = Allowed("1 to 249 of the characters a-z A-Z 0-9 . _ -")
Namespace = Annotated[_Name, AfterValidator(checks.namespace), Allowed("1 to 200 of the characters a-z A-Z 0-9 . _ -")]
Instance = Annotated[_Name, AfterValidator(checks.instance), _LONG_NAME]
TopicName = Annotated[_Name, AfterValidator(checks.topic), _LONG_NAME]
Brokers = Annotated[
    str, BeforeValidator(_brokers), _JSON_LIST, Allowed("a list (JSON or commas) of host:port, none twice")
]
Url = Annotated[Address, BeforeValidator(Address.parse), TEXT, _JSON_ADDRESS, Allowed(_URL.format("[/path]"))]
ProxyUrl = Annotated[
    Address, BeforeValidator(Address.parse_without_path), TEXT, _JSON_ADDRESS, Allowed(_URL.format(""))
]

# A secret is checked before pydantic wraps it. The last validator runs first
PropertyValue = Annotated[SecretStr, BeforeValidator(checks.any_text), TEXT, _JSON_SECRET, _PRINTABLE]
Workers = Annotated[
    int,
    Field(ge=1, le=256),
    BeforeValidator(_workers),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 256}, {"const": "auto"}]}),
    Allowed("a whole number from 1 to 256, or auto: one per core"),
]
Password = Annotated[
    SecretStr, BeforeValidator(checks.any_text), BeforeValidator(checks.not_empty), TEXT, _JSON_SECRET, _PRINTABLE
]
HeaderValue = Annotated[SecretStr, BeforeValidator(checks.header_value), TEXT, _JSON_SECRET, Allowed("printable ASCII")]
BearerToken = Annotated[
    SecretStr, BeforeValidator(checks.token), TEXT, _JSON_SECRET, Allowed("visible ASCII characters without spaces")
]


def read_secret(path: Path) -> str:
    """The text of a file without its trailing newline. OSError when it cannot be read, is empty or not UTF-8."""
    return secret_text(path, path.read_bytes())


def secret_text(path: Path, content: bytes) -> str:
    """The same of a file that was read already."""
    try:
        text = content.decode()
    except ValueError:
        # Not `from` the original: its repr holds the bytes
        raise OSError(f"{path} is not UTF-8") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise OSError(f"{path} is empty")
    return text
