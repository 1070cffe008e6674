"""Which known name a misspelt one most likely means. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def most_alike(wanted: str, known: Iterable[str]) -> str:
    """The known name most like the wanted one, whatever separators and capitals they use."""
    return max(known, key=lambda name: likeness(name, wanted))


def likeness(known: str, wanted: str) -> float:
    """How alike two names are: more is more."""
    known, wanted = _comparable(known), _comparable(wanted)
    # The whole, and a little the end: `port` alone is more like http.port than like topics.create
    return difflib.SequenceMatcher(None, known, wanted).ratio() + (0.3 if known.endswith("_" + wanted) else 0.0)


def _comparable(name: str) -> str:
    # Separators do not count: kafka.bootstrap-servers and KAFKA_BOOTSTRAP_SERVERS mean the same to a person
    return re.sub(r"[._-]+", "_", name.lower()).strip("_")
