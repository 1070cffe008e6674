"""The kinds of single values, and how the secret in a `File` is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr

from bridge.settings.addresses import MASK, Address
from bridge.settings.checks import any_text
from bridge.settings.kind import Check, Kind, as_text
from bridge.settings.quantities import format_duration, format_size, parse_duration, parse_size


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

    def _show(self, value: Any) -> str:  # noqa: ANN401, ARG002 - as the base
        return MASK

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
        any_text(str(value))
        return Path(value)


@dataclass(frozen=True, kw_only=True)
class Flag(Kind):
    """Yes or no."""

    def _allowed(self) -> str:
        return "true or false"

    def _parse(self, value: object) -> bool:
        flag = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise ValueError("is not allowed")  # noqa: TRY004 - pydantic takes ValueError alone for a finding
        found = flag.get(as_text(value).strip().lower())
        if found is None:
            raise ValueError("is not allowed")
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
        if isinstance(value, bool) or not re.fullmatch("-?[0-9]{1,18}", text):
            raise ValueError("is not a whole number")
        if not self.low <= int(text) <= self.high:
            raise ValueError("is out of range")
        return int(text)

    def _json_schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, kw_only=True)
class Duration(Kind):
    """A time span within bounds; seconds inside the program."""

    low: str = "1ms"
    high: str = "24h"
    zero: str | None = None  # what 0 is taken as, where it is allowed but nothing could come of it

    def _allowed(self) -> str:
        low = "0s" if self.zero else self.low
        return f"a duration such as 500ms, 10s, 2m, 24h or plain seconds, from {low} to {self.high}"

    def _parse(self, value: object) -> float:
        if isinstance(value, bool):
            raise ValueError("is not a duration")  # noqa: TRY004 - pydantic takes ValueError alone for a finding
        seconds = parse_duration(as_text(value)) or parse_duration(self.zero or "0s")
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
            raise ValueError("is not a size")  # noqa: TRY004 - pydantic takes ValueError alone for a finding
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
    """One of a few words, capitals or not."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, literal: Any) -> Choice:  # noqa: ANN401 - a Literal type
        """The words of a ``Literal``, so that they are spelled once."""
        return cls(words=get_args(literal))

    def _allowed(self) -> str:
        return " or ".join(filter(None, [", ".join(self.words[:-1]), self.words[-1]]))

    def _parse(self, value: object) -> str:
        known = {word.lower(): word for word in self.words}
        found = known.get(as_text(value).strip().lower())
        if found is None:
            raise ValueError("is not allowed")
        return found

    def _json_schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


def read_secret(path: Path) -> str:
    """The text of a file without its trailing newline. OSError when it cannot be read, is empty or not UTF-8."""
    try:
        text = path.read_bytes().decode()
    except ValueError:
        # Not `from` the original: its repr holds the bytes
        raise OSError(f"{path} is not UTF-8") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise OSError(f"{path} is empty")
    return text
