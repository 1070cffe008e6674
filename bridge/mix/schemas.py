"""JSON Schemas (2020-12) of the events' data, made from the models that validate them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bridge.mix.events import EVENTS, SCHEMA_VERSION

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


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
