"""Every case of cases.toml, at every chunking: whole, byte by byte, split at every single position."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from bridge.sse import blocks
from tests.fakes.pieces import chunkings, events_of, plain, stream_of
from tests.spec.reference import interpret

CASES: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("cases.toml").read_text(encoding="utf-8"))["case"]
Expected = list[tuple[str, str, str | None, str]]


def variants() -> list[Any]:
    """Each case, and again with other line ends where it leaves them open."""
    found = []
    for case in CASES:
        stream = case["stream"].encode("latin-1" if case.get("latin1") else "utf-8")
        found.append(pytest.param(case, stream, id=case["name"]))
        if b"\r" not in stream:
            found += [
                pytest.param(case, stream.replace(b"\n", end), id=f"{case['name']} ({name})")
                for name, end in (("CRLF", b"\r\n"), ("CR", b"\r"))
            ]
    return found


def expected(case: dict[str, Any]) -> Expected:
    cursor = case.get("seed", "")
    events = []
    for event in case.get("events", []):
        id_ = event.get("moved", event.get("id"))
        cursor = cursor if id_ is None else id_
        name = "" if "moved" in event else event.get("name", "message")
        events.append((name, event.get("data", ""), id_, cursor))
    assert cursor == case.get("last", ""), "the case contradicts itself"
    return events


@pytest.mark.parametrize(("case", "stream"), variants())
def test_the_reference_agrees_with_the_standard(case: dict[str, Any], stream: bytes) -> None:
    """The interpreter of the property tests agrees with each case that was written by hand."""
    result = interpret(stream, case.get("seed", ""))
    assert result.events == expected(case)
    assert result.last_event_id == case.get("last", "")
    assert result.reconnection_time == case.get("retry")
    assert result.unfinished == case.get("unfinished", False)


@pytest.mark.parametrize("whole", [blocks.WHOLE, 0], ids=["kept whole", "scanned"])
@pytest.mark.parametrize(("case", "stream"), variants())
def test_the_reader_agrees_with_the_standard(
    case: dict[str, Any], stream: bytes, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same events, last event ID, reconnection time and discarded tail at every chunking."""
    monkeypatch.setattr(blocks, "WHOLE", whole)
    for how, pieces in chunkings(stream):
        reader = stream_of(pieces, case.get("seed", ""))
        assert plain(events_of(reader)) == expected(case), how
        assert reader.last_event_id == case.get("last", ""), how
        assert reader.reconnection_time == case.get("retry"), how
        assert (reader.discarded_bytes > 0) == case.get("unfinished", False), how
        assert reader.bytes_read == len(stream), how
