"""How a connection ended, and the decision: wait and reconnect, end the session, or drop its last event ID.

Pure: clock and jitter are arguments, and each decision comes with the next history. The rules start from those of the
standard for reestablishing a connection (HTML, section 9.2.3). The additions make a bridge wait for every server that
may come back, without flooding one that does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Final, NamedTuple

from bridge.clock import Backoff
from bridge.http.errors import ConnectionLost, EndKind
from bridge.http.headers import http_date

LONGEST_RETRY_AFTER: Final = 600.0
"""Seconds. A server may ask for a day, but a request every ten minutes costs little."""
SLOW: Final = 5.0
"""Seconds between tries with rejected credentials. Faster tries lock accounts and fill the server's security log."""
TRIES: Final = 3
"""Responses in a row that must report a session as gone, or refuse an id: fewer can come from a proxy that restarts."""
_NOT_ABOUT_AN_ID: Final = frozenset({408, 409, 421, 423, 424, 425, 426, 429, 431, 494})
"""4xx about the moment, the connection or the size of the request. 409: the server has not noticed yet that the last
connection is over. A new epoch would not help, and would publish the whole history again."""
NO_HEAD_HINT: Final = (
    "some servers and buffering proxies send it only with the first event: switch off response buffering there, or let"
    " the server send the head at once"
)
SERVER_ERROR: Final = 500
"""The first status of the 5xx class."""
_OF_A_PROXY: Final = frozenset({502, 503, 504})
"""5xx about the moment: the server behind a proxy restarts, is overloaded or does not answer."""
_HINTS: Final = {
    401: "check the token (token, token_file or headers)",
    403: "this token may not read the stream: check the token (token, token_file or headers)",
    407: "the proxy rejected the credentials: check the proxy's address",
}


class Kind(Enum):
    """Why a connection ended, as in :class:`EndKind`, or why there is no event stream."""

    ENDED = "ended"
    BROKEN = "broken"
    SILENT = "silent"
    NO_HEAD = "no_head"
    STALLED = "stalled"
    """Also: bytes came, but within two read timeouts no block was closed and no comment line completed."""
    UNREACHABLE = "unreachable"
    STOPPED = "stopped"
    UNAUTHORIZED = "unauthorized"
    """401, 403, or a proxy's 407. None of them concerns the id that was sent."""
    GONE = "gone"
    """404, or 204 and 205, which mean: do not reconnect."""
    REFUSED = "refused"
    """Another 4xx."""
    UNAVAILABLE = "unavailable"
    """5xx, a 4xx that is never about an id, a redirect that is not followed, or another status."""
    NOT_A_STREAM = "not_a_stream"
    """200 with another type than text/event-stream: a login page, or an error in JSON."""
    BAD_REQUEST_ID = "bad_request_id"
    """An HTTP header cannot hold the last event ID."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one connection ended. ``detail`` is one readable line without secrets; ``retry_after`` is in seconds."""

    kind: Kind
    detail: str
    status: int | None = None
    retry_after: float | None = None

    @property
    def may_be_about_id(self) -> bool:
        """Whether the server may have refused the last event id: 4xx and 5xx, less those of a proxy or a moment."""
        status = self.status or 0
        return self.kind is Kind.REFUSED or (status >= SERVER_ERROR and status not in _OF_A_PROXY)


class Disconnected(Exception):
    """A connection ended. A stream ends only by raising it, and ``connect`` raises nothing else."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"{outcome.kind.value}: {outcome.detail}")
        self.outcome = outcome


class InARow(NamedTuple):
    """Responses of one kind, with no other between them."""

    since: float | None = None
    tries: int = 0

    def after(self, now: float, *, counts: bool) -> InARow:
        """The row after another response, of this kind or of another one."""
        return InARow(now if self.since is None else self.since, self.tries + 1) if counts else NOT_YET

    def has_lasted(self, now: float, seconds: float) -> bool:
        """Whether the responses came for that long, and often enough."""
        return self.since is not None and self.tries >= TRIES and now - self.since >= seconds


NOT_YET: Final = InARow()


@dataclass(frozen=True, slots=True)
class History:
    """The state that is kept from one connection to the next. ``History()`` is the initial one."""

    failures: int = 0
    reconnection_time: float | None = None
    gone: InARow = NOT_YET
    refused: InARow = NOT_YET
    """Responses that may be about the id: 4xx and 5xx."""
    only_with_id: InARow = NOT_YET
    """Those of them before each of which a request without an id was accepted."""
    accepts_without_id: bool = False
    """Since the last of them, a request without an id was accepted."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Reconnect after this many seconds (zero or more)."""

    seconds: float


@dataclass(frozen=True, slots=True)
class End:
    """The session is gone permanently."""


@dataclass(frozen=True, slots=True)
class RefusedId:
    """The server rejects requests with this last event ID, or HTTP cannot carry it: continue without it."""

    detail: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class AskWithoutId:
    """Request the stream once without an id, to see whether the failure is about the id; then wait."""

    seconds: float


Decision = Wait | End | RefusedId | AskWithoutId


def after_block(history: History) -> History:
    """A block was closed, so the stream works and every count is reset. A connect alone proves nothing."""
    return History(reconnection_time=history.reconnection_time)


def with_reconnection_time(history: History, seconds: float | None) -> History:
    """The stream's ``retry`` field, which stays valid for later connections. None: there was none."""
    return history if seconds is None else replace(history, reconnection_time=seconds)


def decide(  # noqa: PLR0913 - clock, jitter and bounds are arguments, so that a test can reach every case
    history: History,
    outcome: Outcome,
    *,
    now: float,
    jitter: float,
    backoff: Backoff,
    gone_after: float,
    may_drop_id: bool = True,
    may_ask: bool = True,
    may_end: Callable[[float], bool] = lambda _: True,
) -> tuple[Decision, History]:
    """The decision after an outcome. ``now`` is ``clock.monotonic``, ``jitter`` in [0, 1), ``gone_after`` seconds.

    ``may_drop_id``: the request had an id, without which the session could continue. ``may_ask``: a request without an
    id does no harm. ``may_end(since)``: nothing contradicts that the session, which is gone since then, has ended.
    """
    if outcome.kind is Kind.STOPPED:  # the caller's own action says nothing about the server
        return Wait(0.0), history
    after = _remember(history, outcome, now)
    proves_refusal = may_drop_id and _proves_refusal(after, outcome, now, gone_after, may_ask=may_ask)
    if outcome.kind is Kind.BAD_REQUEST_ID or proves_refusal:
        is_compared = after.only_with_id.since is not None
        detail = f"{outcome.detail}: it refuses only requests with Last-Event-ID" if is_compared else outcome.detail
        return RefusedId(detail), replace(after, refused=NOT_YET, only_with_id=NOT_YET)
    if after.gone.since is not None and after.gone.has_lasted(now, gone_after) and may_end(after.gone.since):
        return End(), after
    seconds = _seconds(history, outcome, jitter, backoff)
    row = next((each for each in (after.only_with_id, after.refused) if each.since is not None), after.gone)
    if row.since is not None and not row.has_lasted(now, gone_after):  # do not delay the last try by a doubled wait
        seconds = min(seconds, max(row.since + gone_after - now, _base(history, backoff)))
    seconds = _not_before(seconds, outcome.retry_after, jitter * backoff.minimum)
    asks = may_drop_id and may_ask and after.refused.tries
    return AskWithoutId(seconds) if asks else Wait(seconds), after


def after_question(history: History, *, accepted: bool) -> History:
    """The stream was requested without an id. If requests with the id fail again and again, that is about the id."""
    return replace(history, accepts_without_id=accepted)


def _remember(history: History, outcome: Outcome, now: float) -> History:
    """Increase the counts. A different kind resets those in a row, because the server's state may have changed."""
    is_refused = outcome.may_be_about_id
    return History(
        failures=history.failures + (outcome.kind is not Kind.NO_HEAD),
        reconnection_time=history.reconnection_time,
        gone=history.gone.after(now, counts=outcome.kind is Kind.GONE),
        refused=history.refused.after(now, counts=is_refused),
        only_with_id=history.only_with_id.after(now, counts=is_refused and history.accepts_without_id),
    )


def _proves_refusal(history: History, outcome: Outcome, now: float, gone_after: float, *, may_ask: bool) -> bool:
    """Whether the server refuses the id, and not every request. If it may not be asked, only its 4xx count."""
    if may_ask:
        return history.only_with_id.has_lasted(now, gone_after)
    return outcome.kind is Kind.REFUSED and history.refused.has_lasted(now, gone_after)


def _base(history: History, backoff: Backoff) -> float:
    requested = history.reconnection_time or 0.0
    return min(max(requested, backoff.minimum), backoff.maximum)


def _seconds(history: History, outcome: Outcome, jitter: float, backoff: Backoff) -> float:
    base = _base(history, backoff)
    if outcome.kind is Kind.NO_HEAD or (outcome.kind is Kind.ENDED and not history.failures):
        # The normal end of a working stream (a proxy's time limit), or of one without an event. The jitter spreads the
        # reconnects of a thousand sessions that were cut at the same moment.
        return min(base * (0.75 + jitter / 2), backoff.maximum)
    if outcome.kind is Kind.UNAUTHORIZED:
        slow = min(max(base, SLOW), backoff.maximum)
        return slow + jitter * (Backoff(slow, backoff.maximum).delay(history.failures) - slow)
    return jitter * Backoff(base, backoff.maximum).delay(history.failures)


def _not_before(seconds: float, retry_after: float | None, spread: float) -> float:
    """``Retry-After`` is a minimum, even above our maximum. The spread separates sessions that get the same value."""
    if retry_after is None:
        return seconds
    return max(seconds, min(retry_after, LONGEST_RETRY_AFTER) + spread)


def outcome_of_loss(lost: ConnectionLost) -> Outcome:
    """The outcome of a connection without a response, or of a body that ended."""
    kind = Kind.UNAVAILABLE if lost.kind is EndKind.REDIRECT_REFUSED else Kind(lost.kind.value)
    return Outcome(kind, f"{lost.detail}; {NO_HEAD_HINT}" if kind is Kind.NO_HEAD else lost.detail, lost.status)


def outcome_of_head(status: int, media_type: str, retry_after: float | None = None) -> Outcome | None:
    """The outcome of a response head that is not an event stream; None for an event stream.

    The media type is in lower case and has no parameters: a charset has no effect, the stream is always UTF-8.
    """
    if status != 200:  # noqa: PLR2004 - no other success is an event stream (HTML, section 9.2.2)
        hint = _HINTS.get(status)
        detail = f"status {status}: {hint}" if hint else f"status {status}"
        return Outcome(_kind_of_status(status), detail, status, retry_after)
    if media_type == "text/event-stream":
        return None
    return Outcome(Kind.NOT_A_STREAM, f"status 200 with content type {media_type[:80]!r}, not text/event-stream", 200)


def _kind_of_status(status: int) -> Kind:
    match status:
        case 401 | 403 | 407:
            return Kind.UNAUTHORIZED
        case 404 | 204 | 205:
            return Kind.GONE
        case _:
            is_about_id = status // 100 == 4 and status not in _NOT_ABOUT_AN_ID  # noqa: PLR2004 - the 4xx class
            return Kind.REFUSED if is_about_id else Kind.UNAVAILABLE


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """The capped seconds of a ``Retry-After`` header, a number or a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), LONGEST_RETRY_AFTER)
    moment = http_date(text)
    return None if moment is None else min(max((moment - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER)
