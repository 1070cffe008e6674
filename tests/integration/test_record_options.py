"""Trace context, data schema and schema ids in the records of a real bridge."""

from __future__ import annotations

from pathlib import Path

from bridge.admin.contract import register
from bridge.core.identity import SessionKey
from bridge.core.records.formats import traceparent
from bridge.settings import load
from tests.fakes.schema_registry import Registry, serving
from tests.support.scene import bridged, events, settings, wait_acknowledged, wait_logged
from tests.support.scripted_mix import Feed, scripted_mix

AWAY = "http://127.0.0.1:1"


def test_records_carry_what_the_settings_ask_for(kafka: str, namespace: str, tmp_path: Path) -> None:
    """First with a registry that is away, which is a warning, then with one that knows the schemas."""
    chosen = {
        "events.format": "binary",
        "telemetry.traceparent": "on",
        "schemas.dataschema": "https://schemas.example.com/{event}.json",
    }
    with scripted_mix() as mix, serving(Registry()) as registry:
        feed = Feed(3)
        mix.serve({"a": feed})
        with bridged(
            tmp_path / "away", settings(kafka, namespace, mix.url, chosen | {"schemas.registry_url": AWAY})
        ) as bridge:
            wait_acknowledged(bridge, "a", 3)
            assert wait_logged(bridge, "no schema ids")["level"] == "warning"
        register(load({"schemas.registry_url": registry.url}, {}))
        feed.add(2)
        with bridged(
            tmp_path / "there", settings(kafka, namespace, mix.url, chosen | {"schemas.registry_url": registry.url})
        ) as bridge:
            wait_acknowledged(bridge, "a", 5)
    read = [dict(record.headers) for record in events(kafka, namespace) if record.key == b"local/a"]
    assert [(headers.get("__value_schema_id") or b"")[:1] for headers in read] == [b""] * 3 + [b"\x01"] * 2
    for headers in read:
        epoch, number = (headers["ce_sequence"] or b"").decode().split(":")
        expected = traceparent(SessionKey("local", "a"), epoch, int(number)).encode()
        assert headers["traceparent"] == headers["ce_traceparent"] == expected
        assert headers["ce_dataschema"] == b"https://schemas.example.com/content.json"
