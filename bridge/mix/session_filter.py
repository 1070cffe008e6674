"""Which listed sessions discovery selects. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bridge.mix.listing import SessionSummary


@dataclass(frozen=True, slots=True)
class DiscoveryRules:
    """The filters of discovery; ``created_within`` in seconds."""

    include_subagents: bool
    created_within: float | None


def discovered(listing: Iterable[SessionSummary], rules: DiscoveryRules, now_ms: int) -> tuple[str, ...]:
    """Return the ids of the sessions that pass the filters. A session of unknown age passes: too many lose nothing."""

    def passes(session: SessionSummary) -> bool:
        if session.session_type == "subagent" and not rules.include_subagents:
            return False
        if rules.created_within is None or session.created_at_ms is None:
            return True
        return now_ms - session.created_at_ms <= rules.created_within * 1000

    return tuple(session.id for session in listing if passes(session))
