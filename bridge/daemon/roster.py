"""Which sessions of one server are to run: configured, discovered and checkpointed ones, up to a limit. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from bridge.mix.listing import SessionSummary


@dataclass(frozen=True, slots=True)
class DiscoveryRules:
    """What discovery lets in; ``created_within`` in seconds."""

    include_subagents: bool
    created_within: float | None


def discovered(listing: Iterable[SessionSummary], rules: DiscoveryRules, now_ms: int) -> tuple[str, ...]:
    """The ids of listed sessions that pass the filters; one of unknown age is let in: too much is not a loss."""

    def passes(session: SessionSummary) -> bool:
        if session.session_type == "subagent" and not rules.include_subagents:
            return False
        if rules.created_within is None or session.created_at_ms is None:
            return True
        return now_ms - session.created_at_ms <= rules.created_within * 1000

    return tuple(session.id for session in listing if passes(session))


@dataclass(frozen=True, slots=True)
class Choice:
    """Sessions to run, and how many more there are than are allowed."""

    chosen: tuple[str, ...]
    left_out: int


def choose(  # noqa: PLR0913 - the sources, in the order of their rights
    configured: Iterable[str],
    checkpointed: Iterable[str],
    listed: Iterable[str],
    *,
    running: AbstractSet[str],
    over: AbstractSet[str],
    limit: int,
) -> Choice:
    """Merge the sources: each session once, first come first served within ``limit``.

    A running session keeps its place whatever the lists say: only its own end ends it. ``over``: sessions that ended a
    short while ago and are left alone for now.
    """
    wanted = dict.fromkeys([*running, *configured, *checkpointed, *listed])
    ordered = [session for session in wanted if session in running or session not in over]
    return Choice(tuple(ordered[:limit]), max(0, len(ordered) - limit))
