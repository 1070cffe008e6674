"""What follows a connection of one session: the decision after each outcome, and what the next one needs of it."""

from __future__ import annotations

from collections.abc import Callable

from bridge.daemon.source import Source
from bridge.sse.reconnection import (
    Decision,
    History,
    Outcome,
    after_block,
    after_question,
    decide,
    with_reconnection_time,
)


class Retries:
    """The history of one session's connections. For its thread alone."""

    def __init__(self, source: Source, session_id: str, now: Callable[[], float], jitter: Callable[[], float]) -> None:
        self._source = source
        self._session_id = session_id
        self._now = now
        self._jitter = jitter
        self.history = History()

    def after(self, outcome: Outcome, *, may_drop_id: bool, may_ask: bool) -> Decision:
        """The decision. ``may_drop_id``: the request had an id, without which the session could continue.

        ``may_ask``: a request without an id does no harm.
        """
        source = self._source
        decision, self.history = decide(
            self.history,
            outcome,
            now=self._now(),
            jitter=self._jitter(),
            backoff=source.backoff,
            gone_after=source.settings.gone_after,
            may_drop_id=may_drop_id,
            may_ask=may_ask,
            may_end=self._may_end,
        )
        source.gone_sessions.failed(self._session_id, self.history.gone.since)
        return decision

    def asked_without_id(self, *, accepted: bool) -> None:
        self.history = after_question(self.history, accepted=accepted)

    def closed(self, reconnection_time: float | None, *, worked: bool) -> None:
        """A connection with a stream was closed. ``worked``: the next one may follow soon."""
        self.history = with_reconnection_time(self.history, reconnection_time)
        if worked:
            self.history = after_block(self.history)

    def left(self) -> None:
        self._source.gone_sessions.left(self._session_id)

    def _may_end(self, since: float) -> bool:
        """Whether the session has ended, and its 404 does not come from an outage; asks for a new list if not."""
        may_end = self._source.gone_sessions.may_end(self._session_id, since, self._now())
        if not may_end:
            self._source.list_wanted.set()
        return may_end
