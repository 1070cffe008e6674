"""The examples and the reasons of docs/records.md: ``python -m tests.docs.records`` writes the examples again."""

from __future__ import annotations

import re
from dataclasses import replace

from bridge.admin.dead_letters.replay import marked
from bridge.core.identity import Position, SessionKey
from bridge.core.records import checkpoint
from bridge.core.records.encoder import Encoder
from bridge.core.records.lifecycle import LifecycleEvent, LifecycleWriter
from bridge.core.records.record import Record
from bridge.core.records.rules import Rules
from bridge.core.stream.event import Event
from bridge.core.stream.overlap import OverlapWindow
from tests.fakes.rules import RULES
from tests.support.repository import REPOSITORY

PAGE = REPOSITORY / "docs/records.md"
KEY = SessionKey("local", "8d0f3c")
EPOCH, NUMBER, RECEIVED = 1767225600, 42, 1767225612345
HELLO = Event("content", '{"type": "content", "content": "Hello"}', "57", "57", RECEIVED)
TEXT = Event("note", "not JSON", None, "57", RECEIVED)
WRONG = Event("content", '{"type": "content"}', "57", "57", RECEIVED)
_BLOCK = re.compile(r"(<!-- example: ([a-z ]+) -->\n\n```text\n)(.*?)(```)", re.DOTALL)


def examples() -> dict[str, str]:
    """The text of each example, by name."""
    every = replace(RULES, traceparent=True, dataschema="https://schemas.example.com/{event}.json")
    binary, raw = replace(RULES, format="binary"), replace(RULES, format="raw")
    gap = LifecycleEvent(
        "gap", "ids_jumped", "the server's ids jump from 57 to 61: 3 events are missing", "57", "61", 3
    )
    return {
        "structured": _shown(_encoded(RULES, HELLO)),
        "text": _shown(_encoded(RULES, TEXT)),
        "binary": _shown(_encoded(binary, HELLO)),
        "raw": _shown(_encoded(raw, HELLO)),
        "traced": _shown(_encoded(replace(every, format="binary"), HELLO)),
        "dead letter": _shown(_encoded(RULES, WRONG)),
        "replayed": _shown(marked(_encoded(replace(RULES, invalid="publish"), WRONG), RULES)),
        "lifecycle": _shown(LifecycleWriter(KEY, "mix.lifecycle").record(gap, EPOCH, NUMBER, RECEIVED, EPOCH + 12)),
        "checkpoint": f"key     {KEY}\nvalue   {_checkpoint()}\n",
    }


def _encoded(rules: Rules, event: Event) -> Record:
    record = Encoder(rules, KEY).encode(event, EPOCH, NUMBER)
    assert record is not None
    return record


def _checkpoint() -> str:
    window = OverlapWindow("56", "57", bytes.fromhex("5f1d7a84db00d2fc"), certain=True)
    stored = checkpoint.Checkpoint(KEY, Position(EPOCH, NUMBER, "57"), "active", RECEIVED, "0f3a", window, 17)
    return checkpoint.encode(stored).decode()


def _shown(record: Record) -> str:
    headers = [f"header  {name}: {text.decode()}" for name, text in record.headers]
    return "\n".join([f"key     {record.key.decode()}", *headers, f"value   {record.value.decode()}"]) + "\n"


def reasons() -> list[str]:
    """The reasons of lifecycle records that the page explains."""
    (table,) = re.findall(r"<!-- reasons -->\n\n(.*?)\n\n", PAGE.read_text(), re.DOTALL)
    return re.findall(r"^\| `([a-z_]+)` \| .+ \|$", table, re.MULTILINE)


def written(page: str) -> str:
    """The page with today's examples."""
    texts = examples()
    return _BLOCK.sub(lambda found: f"{found[1]}{texts[found[2]]}{found[4]}", page)


def named() -> list[str]:
    """The examples that the page has."""
    return [found[2] for found in _BLOCK.finditer(PAGE.read_text())]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
