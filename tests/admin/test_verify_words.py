"""The words of ``verify`` where no number is missing: what the server announced as missing is said beside it."""

from __future__ import annotations

import pytest

from bridge.admin.verify.report import _complete

AS_RECEIVED = "complete as far as the bridge received it"


@pytest.mark.parametrize(
    ("gaps", "missing", "unknown", "words"),
    [
        (0, 0, 0, "complete: nothing is lost"),
        (5, 0, 5, f"{AS_RECEIVED}; 5 gaps, missing events unknown"),
        (1, 7, 0, f"{AS_RECEIVED}; 1 gap, 7 events missing"),
        (3, 7, 2, f"{AS_RECEIVED}; 3 gaps, 7 events missing, missing events unknown in 2 of them"),
        (1, 0, 0, f"{AS_RECEIVED}; 1 gap, no event missing"),
    ],
)  # fmt: skip
def test_announced_gaps_are_part_of_the_verdict(gaps: int, missing: int, unknown: int, words: str) -> None:
    """Nobody may take such a topic for everything that the server had."""
    totals = {"gaps": gaps, "gaps_missing": missing, "gaps_unknown": unknown}
    assert _complete(totals).plain == words
