"""Texts derived from the type of a setting: its allowed values, a value as text, whether it is a secret. Pure.

Messages and the reference use them, so that neither can differ from the validation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from bridge.settings.addresses import MASK
from bridge.settings.values import NONE, Allowed, Quantity

T = TypeVar("T")


def annotation_of(field: FieldInfo) -> Any:  # noqa: ANN401 - a type expression
    """The type of a field with its metadata."""
    annotation: Any = field.annotation
    for item in field.metadata:
        annotation = Annotated[annotation, item]
    return annotation


def base_type(annotation: Any) -> Any:  # noqa: ANN401 - a type expression
    """The type without metadata and without None."""
    while get_origin(annotation) is Annotated or NoneType in get_args(annotation):
        annotation = next(part for part in get_args(annotation) if part is not NoneType)
    return annotation


def is_group(annotation: Any) -> bool:  # noqa: ANN401 - a type expression
    """Whether a type is a group of settings."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def is_table(annotation: Any) -> bool:  # noqa: ANN401 - a type expression
    """Whether a type holds settings, by fixed keys or by names that the user picks."""
    return is_group(annotation) or get_origin(annotation) is dict


def is_secret(annotation: Any) -> bool:  # noqa: ANN401 - a type expression
    """Whether no part of a value may be shown."""
    return base_type(annotation) is SecretStr


def allowed(annotation: Any) -> str:  # noqa: ANN401 - a type expression
    """The allowed values, as the end of a message."""
    metadata = list(_metadata(annotation))
    text = _allowed(base_type(annotation), metadata)
    return f"{text}, or none" if NONE in metadata else text


def has_unit(annotation: Any) -> bool:  # noqa: ANN401 - a type expression
    """Whether values are durations or sizes, which people write with a unit."""
    return _first(Quantity, _metadata(annotation)) is not None


def shown(annotation: Any, value: Any) -> str:  # noqa: ANN401 - a type expression and a value of it
    """The value as a text that can be given again; secrets are masked."""
    if value is None:
        return "none"
    if isinstance(value, SecretStr):
        return MASK  # str() of an empty one would be empty
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return json.dumps([row.model_dump(exclude_none=True) if isinstance(row, BaseModel) else row for row in value])
    quantity = _first(Quantity, _metadata(annotation))
    return quantity.show(value) if quantity else str(value)


def _allowed(base: Any, metadata: list[Any]) -> str:  # noqa: ANN401 - a type expression
    note, quantity = _first(Allowed, metadata), _first(Quantity, metadata)
    low, high = _first(Ge, metadata), _first(Le, metadata)
    if note:
        return note.text
    if quantity and low and high:
        return f"{quantity.allowed}, from {quantity.show(low.ge)} to {quantity.show(high.le)}"
    if low and high:
        return f"a whole number from {low.ge} to {high.le}"
    words = ("true", "false") if base is bool else get_args(base) if get_origin(base) is Literal else ()
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else "a table of settings"


def _metadata(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - a type expression
    """The metadata of a type, the outermost last."""
    if get_origin(annotation) is Annotated:
        inner, *beside = get_args(annotation)
        yield from _metadata(inner)
        for item in beside:
            yield from item.metadata if isinstance(item, FieldInfo) else [item]
    elif NoneType in get_args(annotation):
        yield from _metadata(next(part for part in get_args(annotation) if part is not NoneType))


def _first(kind: type[T], metadata: Any) -> T | None:  # noqa: ANN401 - items of any type
    return next((item for item in metadata if isinstance(item, kind)), None)
