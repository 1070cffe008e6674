"""The tables of state machines. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

S = TypeVar("S", bound=Enum)
G = TypeVar("G", bound=Enum)


class ForbiddenTransition(RuntimeError):
    """A signal that the table does not allow in a state: a bug."""


def follow(table: Mapping[tuple[S, G], S], state: S, signal: G) -> S:
    """The state after ``signal``; raises :class:`ForbiddenTransition` if the table has none."""
    try:
        return table[state, signal]
    except KeyError:
        raise ForbiddenTransition(f"{signal.name} in {state.name}") from None
