"""Which sessions of one server are to run: configured, discovered and checkpointed ones, up to a limit. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from bridge.core.identity import SessionKey


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


class OwnedPart:
    """Which sessions of one server's lists are in owned shards.

    Remembered for each list until it is another one, or other shards are owned: to hash the names of all sessions of a
    fleet at each turn would cost more than everything else. One thread.
    """

    def __init__(self, server: str, shard_of: Callable[[SessionKey], int]) -> None:
        self._server = server
        self._shard_of = shard_of
        self._known: dict[str, tuple[Sequence[str], AbstractSet[int], tuple[str, ...]]] = {}

    def of(self, name: str, listed: Sequence[str], owned: AbstractSet[int]) -> tuple[str, ...]:
        """The sessions of ``listed`` that are in owned shards; ``name`` tells one list from another."""
        known = self._known.get(name)
        if known is None or known[0] is not listed or known[1] != owned:
            part = tuple(each for each in listed if self._shard_of(SessionKey(self._server, each)) in owned)
            known = self._known[name] = (listed, owned, part)
        return known[2]
