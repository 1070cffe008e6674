"""Selects the sessions of one server that should run: configured, checkpointed and listed ones, up to a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from bridge.core.identity import SessionKey


@dataclass(frozen=True, slots=True)
class Selection:
    """The sessions that should run, and the number of those above the limit."""

    chosen: tuple[str, ...]
    left_out: int


def select(  # noqa: PLR0913 - the sources in order of precedence
    configured: Iterable[str],
    checkpointed: Iterable[str],
    listed: Iterable[str],
    *,
    running: AbstractSet[str],
    cooling_down: AbstractSet[str],
    limit: int,
) -> Selection:
    """Merge the sources, each session once, up to ``limit``.

    A running session keeps its place whatever the lists contain. ``cooling_down``: sessions that ended a short while
    ago and are not started again yet.
    """
    wanted = dict.fromkeys([*running, *configured, *checkpointed, *listed])
    ordered = [session for session in wanted if session in running or session not in cooling_down]
    return Selection(tuple(ordered[:limit]), max(0, len(ordered) - limit))


class OwnedPart:
    """The part of one server's lists that is in owned shards.

    The result for each list is kept until the list or the owned shards change: hashing the names of thousands of
    sessions on each tick would cost more than everything else. Thread rule: one thread.
    """

    def __init__(self, server: str, shard_of: Callable[[SessionKey], int]) -> None:
        self._server = server
        self._shard_of = shard_of
        self._cache: dict[str, tuple[Sequence[str], AbstractSet[int], tuple[str, ...]]] = {}

    def of(self, name: str, sessions: Sequence[str], owned: AbstractSet[int]) -> tuple[str, ...]:
        """The sessions that are in owned shards; ``name`` distinguishes the lists."""
        cached = self._cache.get(name)
        if cached is None or cached[0] is not sessions or cached[1] != owned:
            part = tuple(each for each in sessions if self._shard_of(SessionKey(self._server, each)) in owned)
            cached = self._cache[name] = (sessions, owned, part)
        return cached[2]
