"""The JSON Schemas as files."""

from __future__ import annotations

import json
from pathlib import Path

from bridge.admin.contract.fields import LIFECYCLE_DATA
from bridge.errors import SettingsError
from bridge.mix.schemas import Schema, event_schemas, identified

LIFECYCLE = "lifecycle"


def lifecycle_schema() -> Schema:
    """The schema of the data of lifecycle records."""
    required = [name for name in LIFECYCLE_DATA if name != "new_epoch"]
    schema = {"title": "Lifecycle", "type": "object", "properties": dict(LIFECYCLE_DATA), "required": required}
    return identified(LIFECYCLE, schema | {"additionalProperties": True})


def export(folder: Path) -> list[Path]:
    """Write one file for each event type, and one for lifecycle records. Raises ``SettingsError``."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, schema in {**event_schemas(), LIFECYCLE: lifecycle_schema()}.items():
            path = folder / f"{name}.json"
            path.write_text(json.dumps(schema, indent=2) + "\n")
            written.append(path)
    except OSError as error:
        raise SettingsError.of("DIR", f"cannot write to {folder}: {error.strerror}") from error
    return written
