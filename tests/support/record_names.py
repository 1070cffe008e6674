"""Collects every header and member of the bridge's records that any test reads, and compares them with docs/records.md.

`tests.support.topics` hands over each record; the last test of each worker fails if a name is not described.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from bridge.consumer.envelope import split
from bridge.core.records.claim import EXACTLY_ONCE_KEY
from tests.support.repository import REPOSITORY

undescribed: set[str] = set()
"""Names on a topic that the page does not have."""
_OWN = (b'{"specversion":"1.0","source":"/mix/', b'{"replayed":true,"specversion":"1.0","source":"/mix/')
_LIFECYCLE = "mix.bridge.session."


@cache
def described() -> frozenset[str]:
    """Every name in the inline code of the page."""
    page = (REPOSITORY / "docs/records.md").read_text()
    return frozenset(re.findall(r"`([^`\n]+)`", page))


def note(topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> None:
    """Compare the names of a record that the bridge wrote; those of a test's own records are passed over."""
    undescribed.update(set(names(topic, key, value, headers)) - described())


def names(
    topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]
) -> Iterator[str]:
    """The names of a record: headers, members, and a lifecycle record's reason and kind."""
    if topic.endswith(".checkpoints"):
        yield from _checkpoint(key or b"", value or b"")
        yield from (name for name, _ in headers)
        return
    by_name = dict(headers)
    is_ours = (value or b"").startswith(_OWN) or (by_name.get("ce_source") or b"").startswith(b"/mix/")
    if is_ours or "bridge.sha256" in by_name:
        yield from by_name
    if (value or b"").startswith(_OWN) and "content-type" in by_name:
        yield from _envelope(value or b"")


def _envelope(value: bytes) -> Iterator[str]:
    attributes, data = split(value)
    yield from (*attributes, "data")
    if attributes["type"].startswith(_LIFECYCLE):
        members = json.loads(data or b"{}")
        yield from (*members, members["reason"], attributes["type"].removeprefix(_LIFECYCLE))


def _checkpoint(key: bytes, value: bytes) -> Iterator[str]:
    try:
        members: Any = json.loads(value)
    except ValueError:
        return
    is_ours = key == EXACTLY_ONCE_KEY or (isinstance(members, dict) and bool({"term", "nonce"} & set(members)))
    if isinstance(members, dict) and members.get("version") == 1 and is_ours:
        yield from _names_in(members)
        if key.startswith(b"#"):
            yield key.decode()


def _names_in(members: dict[str, Any]) -> Iterable[str]:
    inner = (each for each in members.values() if isinstance(each, dict))
    return [*members, *(name for each in inner for name in each)]
