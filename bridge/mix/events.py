"""The 16 events of the Mix agent server's contract (0.8.1) as strict models, their validators and JSON Schemas.

The models are made from the classes that consumers get: the contract is written down once. Required fields must exist,
and no value is converted ("yes" is not a bool). Unknown fields pass. Where the contract has no type (tool input,
params, choices, times, timeouts), every reasonable form passes. ``notificationType`` and ``responseType`` are closed
lists, because the contract closes them and its own client rejects other values. Tool names, ``action`` and ``type`` are
open: new tools come without a new contract. Optional fields may be null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import MappingProxyType
from typing import Annotated, Any, Literal, NotRequired, Required, Union

import typing_extensions
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictStr,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic.alias_generators import to_camel

from bridge.consumer.models import MODELS
from bridge.core.records.json_text import NotJson, plain
from bridge.core.records.rules import Validator
from bridge.core.stream.event import Event

SCHEMA_VERSION = "mix-0.8.1/1"
"""Changes with every change of a model, because a changed model starts a new epoch (a test compares the two)."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


class MixEvent(BaseModel):
    """The data of one event. Fields that are not listed pass unchecked."""

    model_config = ConfigDict(extra="allow", frozen=True, alias_generator=to_camel)


_TYPES: Mapping[str, Any] = {
    "str": StrictStr,
    "float": StrictFloat,  # any JSON number, whole or not
    "bool": StrictBool,
    "None": None,
    "Any": Any,
    "list[Any]": list[Any],
}
"""The strict type for each word of a consumer's annotation."""
_TOOL: Any = Annotated[StrictStr, Field(description="A core tool (Bash, Edit, Task, ...) or <server>_<tool>")]
_CLOSER_TYPES: Mapping[tuple[str, str], Any] = {
    ("notification", "notification_type"): Literal["info", "warning", "error", "question"],
    ("notification", "response_type"): Literal["acknowledge", "text", "choice"],
    ("tool_use_start", "name"): _TOOL,
    ("tool_use_parameter_streaming_complete", "name"): _TOOL,
    ("tool_execution_start", "tool_name"): _TOOL,
    ("tool_execution_complete", "tool_name"): _TOOL,
    ("permission", "tool_name"): _TOOL,
}
"""Where the contract says more than the type."""


def _strict_model(event: str, typed: type) -> type[MixEvent]:
    """Make the model from the class that consumers get. Its members' names in texts are those of the wire."""
    members = sorted(fields(typed), key=lambda member: member.name != "parent_tool_call_id")
    definitions: dict[str, Any] = {}
    for member in members:
        words = [_TYPES[word] for word in str(member.type).split(" | ")]
        annotation = _CLOSER_TYPES.get((event, member.name), Union[tuple(words)])  # noqa: UP007 - known at run time only
        definitions[member.name] = (annotation, ... if member.default is MISSING else member.default)
    text = (typed.__doc__ or "").replace("retry_after", "retryAfter")
    return create_model(typed.__name__, __base__=MixEvent, __doc__=text, __module__=__name__, **definitions)


EVENTS: Mapping[str, type[MixEvent]] = MappingProxyType({name: _strict_model(name, MODELS[name]) for name in MODELS})
"""All models by the SSE event name."""


def validator_of(model: type[MixEvent]) -> Validator:
    """A fast validator of the model's fields. Thread-safe.

    Only the result of the check is used, so the fields are checked as those of a dict. That takes half the time, and
    unknown fields are not parsed into objects.
    """
    validate = TypeAdapter(_as_typed_dict(model)).validator.validate_json

    def check(data: str, /) -> str | None:
        try:
            validate(data)
        except ValidationError as error:
            return _violations(error) if _concerns_fields(error) else check_plain(data)
        return None

    def check_plain(data: str) -> str | None:
        """Check again: pydantic's parser rejects some valid JSON (lone surrogates, long numbers, deep nesting)."""
        try:
            validate(plain(data))
        except NotJson as error:
            return str(error)
        except ValidationError as error:
            return _violations(error)
        return None

    return check


def _as_typed_dict(model: type[MixEvent]) -> Any:  # noqa: ANN401 - a type that is created at run time has no static type
    make: Any = typing_extensions.TypedDict  # pydantic needs Python 3.12 for the standard library's
    need = {True: Required, False: NotRequired}
    fields = {
        str(field.alias): need[field.is_required()][field.rebuild_annotation()] for field in model.model_fields.values()
    }
    typed_dict = make(model.__name__, fields)
    typed_dict.__pydantic_config__ = ConfigDict(extra="ignore", cache_strings="none")
    return typed_dict


def _concerns_fields(error: ValidationError) -> bool:
    return error.errors(include_url=False, include_context=False, include_input=False)[0]["type"] != "json_invalid"


def _violations(error: ValidationError) -> str:
    """Up to three violations on one line: field and reason, never the value."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'data'}: {each['msg']}" for each in found[:3])


VALIDATORS: Mapping[str, Validator] = MappingProxyType({name: validator_of(model) for name, model in EVENTS.items()})


def schema_id(name: str) -> str:
    """The ``$id`` of a schema: it changes with the version of the schemas."""
    return f"urn:mix-bridge:schema:{SCHEMA_VERSION.replace('/', '-')}:{name}"


def identified(name: str, schema: Schema) -> Schema:
    """The schema with its dialect and its id."""
    return {"$schema": DIALECT, "$id": schema_id(name), **schema}


def event_schemas() -> Mapping[str, Schema]:
    """The schema of each event type's data, by SSE event name. Members that are not listed are allowed."""
    return {name: identified(name, model.model_json_schema()) for name, model in EVENTS.items()}


def schema_text(schema: Schema) -> str:
    """The text of a schema for a registry, which compares texts."""
    return json.dumps(schema, sort_keys=True, separators=(",", ":"))


def deletes(event: Event, session_id: str) -> bool:
    """Whether this event reports that the session was deleted. A stream reports other sessions' deletions too."""
    if event.name != "session_deleted":
        return False
    try:
        value = json.loads(event.data)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("sessionId") == session_id
