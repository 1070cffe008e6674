"""The token of the HTTP endpoint, and the one before it for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bridge import clock

OVERLAP: Final = 60.0
"""Seconds for which a former token stays valid: scrapers get the new one at another moment than the bridge."""


class Tokens:
    """The tokens that are valid now. Thread rule: any thread; each field is replaced as a whole."""

    def __init__(self, token: str | None, now: Callable[[], float] = clock.monotonic) -> None:
        """None: no token is needed."""
        self._now = now
        self._token = token
        self._former: tuple[str, float] | None = None

    @property
    def is_needed(self) -> bool:
        return self._token is not None

    def replace(self, token: str | None) -> None:
        """Use another token; the former one stays valid for a minute."""
        if token == self._token:
            return
        if self._token is not None:
            self._former = (self._token, self._now() + OVERLAP)
        self._token = token

    def valid(self) -> tuple[str, ...]:
        former = self._former
        is_valid = former is not None and self._now() < former[1]
        return tuple(each for each in (self._token, former[0] if former and is_valid else None) if each is not None)
