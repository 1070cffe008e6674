"""The decision after each outcome, with clock and jitter as arguments."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bridge.clock import Backoff
from bridge.core.identity import sendable
from bridge.sse.reconnection import (
    LONGEST_RETRY_AFTER,
    AskWithoutId,
    Decision,
    Disconnected,
    End,
    History,
    InARow,
    Kind,
    Outcome,
    RefusedId,
    Wait,
    after_block,
    after_question,
    decide,
    outcome_of_head,
    parse_retry_after,
    with_reconnection_time,
)

BACKOFF = Backoff(minimum=0.5, maximum=60.0)
ALMOST_ONE = 0.999999
NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


def decided(  # noqa: PLR0913 - the columns of the table
    history: History, kind: Kind, *, now: float = 0.0, jitter: float = 0.5, retry_after: float | None = None,
    backoff: Backoff = BACKOFF,
) -> tuple[Decision, History]:  # fmt: skip
    outcome = Outcome(kind, "detail", retry_after=retry_after)
    return decide(history, outcome, now=now, jitter=jitter, backoff=backoff, gone_after=30.0)


def seconds_of(decision: Decision) -> float:
    assert isinstance(decision, Wait)
    return decision.seconds


def waits(kinds: list[Kind], history: History | None = None, **options: float) -> list[float]:
    """The waits that these outcomes in a row lead to."""
    history = history or History()
    found = []
    for kind in kinds:
        decision, history = decided(history, kind, **options)  # type: ignore[arg-type]
        found.append(seconds_of(decision))
    return found


# Every kind of outcome, at the first and at the fourth time in a row

TRANSIENT = [Kind.BROKEN, Kind.SILENT, Kind.STALLED, Kind.UNREACHABLE, Kind.UNAVAILABLE, Kind.NOT_A_STREAM]


def test_every_kind_has_a_test() -> None:
    """A new kind must be added to this table."""
    others = {Kind.ENDED, Kind.NO_HEAD, Kind.UNAUTHORIZED, Kind.GONE, Kind.REFUSED, Kind.BAD_REQUEST_ID, Kind.STOPPED}
    assert {*TRANSIENT} | others == {*Kind}


@pytest.mark.parametrize("kind", TRANSIENT)
def test_a_transient_failure_doubles_with_full_jitter(kind: Kind) -> None:
    """From zero to the doubled base, and never above the maximum."""
    assert waits([kind] * 9, jitter=0.0) == [0.0] * 9
    assert waits([kind] * 9, jitter=0.5) == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_thousand_failures_still_wait_the_maximum() -> None:
    """The doubling does not overflow, and a server that returns after a day is found."""
    assert seconds_of(decided(History(failures=10_000), Kind.UNREACHABLE, jitter=0.5)[0]) == 30.0


def test_the_normal_end_of_a_working_stream_waits_about_the_base() -> None:
    """The jitter separates a thousand sessions that were cut at the same moment."""
    working = after_block(History(failures=7))
    assert waits([Kind.ENDED], working, jitter=0.0) == [0.375]
    assert waits([Kind.ENDED], working, jitter=0.5) == [0.5]
    assert waits([Kind.ENDED], working, jitter=ALMOST_ONE) == pytest.approx([0.625], abs=1e-5)


def test_a_missing_head_waits_about_the_base_however_often() -> None:
    """The connection stood: the server has nothing to send. It is no failure of an earlier kind either."""
    assert waits([Kind.NO_HEAD] * 5) == [0.5] * 5
    assert waits([Kind.BROKEN, Kind.NO_HEAD, Kind.NO_HEAD, Kind.BROKEN]) == [0.25, 0.5, 0.5, 0.5]


def test_ends_without_a_block_between_them_double_like_failures() -> None:
    """A server that accepts and ends connections immediately is not flooded."""
    assert waits([Kind.ENDED] * 4) == [0.5, 0.5, 1.0, 2.0]


def test_the_base_is_the_servers_retry_between_the_bounds() -> None:
    """``retry`` changes the first wait, the settings limit it."""
    for retry, base in [(3.0, 3.0), (0.0, 0.5), (0.1, 0.5), (3600.0, 60.0), (None, 0.5)]:
        history = with_reconnection_time(History(), retry)
        assert waits([Kind.BROKEN], history, jitter=ALMOST_ONE) == pytest.approx([base], rel=1e-5)
        assert waits([Kind.ENDED], history) == [base]
    assert waits([Kind.BROKEN] * 3, History(reconnection_time=3.0)) == [1.5, 3.0, 6.0]


def test_a_retry_stays_valid_until_another_comes() -> None:
    """Through failures and blocks. A connection without one changes nothing."""
    history = with_reconnection_time(History(), 3.0)
    _, history = decided(history, Kind.BROKEN)
    assert after_block(with_reconnection_time(history, None)) == History(reconnection_time=3.0)


def test_only_a_closed_block_resets() -> None:
    """It resets failures, refusals and the time of a gone session."""
    history = History(5, 2.0, InARow(1.0, 2), InARow(1.0, 2), InARow(1.0, 2), accepts_without_id=True)
    assert after_block(history) == History(reconnection_time=2.0)


def test_rejected_credentials_are_tried_slowly() -> None:
    """Never more often than every 5 s, up to the maximum."""
    assert waits([Kind.UNAUTHORIZED] * 6, jitter=0.0) == [5.0] * 6
    assert waits([Kind.UNAUTHORIZED] * 6, jitter=ALMOST_ONE) == pytest.approx([5, 10, 20, 40, 60, 60], rel=1e-5)
    assert waits([Kind.UNAUTHORIZED], History(reconnection_time=20.0), jitter=0.0) == [20.0]


def test_a_maximum_below_five_seconds_limits_even_that() -> None:
    """The operator's setting wins."""
    slow, _ = decided(History(), Kind.UNAUTHORIZED, jitter=0.0, backoff=Backoff(0.1, 1.0))
    assert slow == Wait(1.0)


def test_a_stop_neither_waits_nor_changes_the_history() -> None:
    """The caller stopped the connection itself."""
    history = History(failures=3, gone=InARow(1.0, 2))
    assert decided(history, Kind.STOPPED) == (Wait(0.0), history)


# Gone


def test_gone_ends_after_the_time_and_three_responses() -> None:
    """Both are needed."""
    decision, history = decided(History(), Kind.GONE, now=100.0)
    assert isinstance(decision, Wait)
    decision, second = decided(history, Kind.GONE, now=200.0)
    assert isinstance(decision, Wait), "lasted, but seen twice only"
    decision, _ = decided(second, Kind.GONE, now=129.9)
    assert isinstance(decision, Wait), "seen three times, but within 30 s"
    decision, _ = decided(second, Kind.GONE, now=130.0)
    assert decision == End()


@pytest.mark.parametrize("between", [kind for kind in Kind if kind not in (Kind.GONE, Kind.STOPPED)])
def test_another_outcome_in_between_resets_the_count(between: Kind) -> None:
    """A session is ended only if it is certain: a restarting server may send any response."""
    _, history = decided(History(), Kind.GONE, now=0.0)
    _, history = decided(history, Kind.GONE, now=20.0)
    _, history = decided(history, between, now=30.0)
    decision, history = decided(history, Kind.GONE, now=40.0)
    assert isinstance(decision, Wait)
    assert history.gone == InARow(40.0, 1)


def test_the_last_try_is_not_delayed_by_a_doubled_wait() -> None:
    """The last wait ends with ``gone_after``, and is at least the base."""
    history = History(failures=6, gone=InARow(0.0, 5))
    assert seconds_of(decided(history, Kind.GONE, now=20.0, jitter=ALMOST_ONE)[0]) == pytest.approx(10.0)
    history = History(failures=6, gone=InARow(0.0, 1))
    assert seconds_of(decided(history, Kind.GONE, now=40.0, jitter=ALMOST_ONE)[0]) == 0.5


# Refused


def refused(history: History, now: float, status: int = 400, **more: bool) -> tuple[Decision, History]:
    """The decision after a refusal, by a server or by a proxy."""
    kind = Kind.REFUSED if status < 500 else Kind.UNAVAILABLE
    outcome = Outcome(kind, "detail", status)
    return decide(history, outcome, now=now, jitter=0.5, backoff=BACKOFF, gone_after=30.0, **more)  # type: ignore[arg-type]


def answered(history: History) -> History:
    return after_question(history, accepted=True)


@pytest.mark.parametrize("status", [400, 410, 451, 500, 501])
def test_an_id_is_dropped_after_three_refusals_between_answers_without_it(status: int) -> None:
    """And after the time: both are needed. The counts start again."""
    history = History()
    for now in (0.0, 1.0, 2.0, 30.9):
        decision, history = refused(history, now, status)
        assert isinstance(decision, AskWithoutId)
        history = answered(history)
    decision, history = refused(history, 31.0, status)
    assert (decision, history.refused, history.only_with_id, history.failures) == (RefusedId(), InARow(), InARow(), 5)
    assert not history.accepts_without_id
    _, history = refused(answered(History()), 0.0, status)
    assert isinstance(refused(answered(history), 99.0, status)[0], AskWithoutId), "lasted, but seen twice only"


def test_an_id_is_kept_while_a_request_without_it_is_refused_too() -> None:
    """A proxy that refuses everything, however long; one answer between, from a server that restarts, shows nothing."""
    history = History()
    for now in range(0, 600, 10):
        decision, history = refused(history, float(now), 400 if now % 20 else 500)
        assert isinstance(decision, AskWithoutId)
        history = after_question(history, accepted=now % 30 == 0)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_what_a_proxy_answers_for_a_server_that_restarts_is_not_about_an_id(status: int) -> None:
    """One pod after the other restarts: the question can reach another one than the next request."""
    history = History()
    for now in range(0, 600, 10):
        decision, history = refused(history, float(now), status)
        assert isinstance(decision, Wait)
        history = answered(history)
    for moment in (600.0, 640.0, 680.0):
        _, history = refused(answered(history), moment)
    assert isinstance(refused(answered(history), 700.0, status)[0], Wait)


@pytest.mark.parametrize("between", [kind for kind in Kind if kind not in (Kind.REFUSED, Kind.STOPPED)])
def test_another_outcome_resets_the_refusals(between: Kind) -> None:
    """Refusals, a restart, refusals: the id is kept."""
    _, history = refused(History(), 0.0)
    for now in (20.0, 40.0):
        _, history = refused(answered(history), now)
    _, history = decided(answered(history), between, now=60.0)
    assert (history.refused, history.only_with_id, history.accepts_without_id) == (InARow(), InARow(), False)


def test_without_another_id_there_is_nothing_to_drop() -> None:
    """Neither is the server asked."""
    history = History()
    for now in range(0, 600, 10):
        decision, history = refused(answered(history), float(now), may_drop_id=False)
        assert isinstance(decision, Wait)


def test_where_a_question_would_take_part_in_runs_a_client_error_is_believed() -> None:
    """A Mix server without ids. Its server errors are an outage."""
    for status, last in ((400, RefusedId()), (500, Wait(2.0))):
        history = History()
        for now in (0.0, 1.0, 2.0):
            decision, history = refused(history, now, status, may_ask=False)
            assert isinstance(decision, Wait)
        assert refused(history, 30.0, status, may_ask=False)[0] == last


def test_what_contradicts_an_end_keeps_the_session() -> None:
    """The list still has it: the session is tried on, with growing waits."""
    asked = []

    def contradicted(since: float) -> bool:
        asked.append(since)
        return False

    history, outcome = History(), Outcome(Kind.GONE, "detail", 404)
    for now in range(0, 600, 10):
        decision, history = decide(
            history, outcome, now=float(now), jitter=0.5, backoff=BACKOFF, gone_after=30.0, may_end=contradicted
        )
        assert isinstance(decision, Wait)
    assert set(asked) == {0.0}
    assert decision == Wait(30.0)


def test_an_id_that_http_cannot_carry_is_dropped_immediately() -> None:
    """Another try would change nothing."""
    assert decided(History(), Kind.BAD_REQUEST_ID)[0] == RefusedId()


# Retry-After


def test_retry_after_is_a_minimum_even_above_the_maximum() -> None:
    """With a spread that separates the sessions. A shorter one changes nothing."""
    assert decided(History(), Kind.UNAVAILABLE, retry_after=120.0, jitter=0.0)[0] == Wait(120.0)
    assert decided(History(), Kind.UNAVAILABLE, retry_after=120.0, jitter=0.5)[0] == Wait(120.25)
    assert decided(History(failures=7), Kind.UNAVAILABLE, retry_after=1.0, jitter=0.5)[0] == Wait(30.0)


def test_retry_after_is_capped() -> None:
    """Also in an outcome that was not parsed from a header."""
    assert decided(History(), Kind.UNAVAILABLE, retry_after=1e9, jitter=0.0)[0] == Wait(LONGEST_RETRY_AFTER)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), ("", None), ("soon", None), ("-5", None), ("1.5", None), ("١٢", None),
        ("0", 0.0), ("7", 7.0), (" 120 ", 120.0), ("99999", LONGEST_RETRY_AFTER), ("9" * 400, LONGEST_RETRY_AFTER),
        ("Sat, 31 Jan 2026 12:01:30 GMT", 90.0), ("Sat, 31 Jan 2026 12:01:30 -0000", 90.0),
        ("Sat, 31 Jan 2026 13:01:30 +0100", 90.0), ("Saturday, 31-Jan-26 12:01:30 GMT", 90.0),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0.0), ("Sat, 31 Jan 2027 12:00:00 GMT", LONGEST_RETRY_AFTER),
        ("Sat, 99 Jan 2026 12:00:00 GMT", None), ("Sat, 31 Jan 2026 12:00:00 +9999", None),
        ("Sat, 31 Jan 99999999999999999999 12:00:00 GMT", None),
    ],
)  # fmt: skip
def test_both_forms_of_retry_after_are_parsed(value: str | None, seconds: float | None) -> None:
    """Seconds or an HTTP date. Anything else is ignored."""
    assert parse_retry_after(value, NOW) == seconds


# The response head

EVENT_STREAM = "text/event-stream"


def test_an_event_stream_has_no_outcome() -> None:
    """Only a status of 200 with this media type is an event stream."""
    assert outcome_of_head(200, EVENT_STREAM) is None


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/json", "text/event-streams"])
def test_another_media_type_is_not_a_stream(media_type: str) -> None:
    """A login page must not become events."""
    outcome = outcome_of_head(200, media_type)
    assert outcome is not None
    assert (outcome.kind, outcome.status) == (Kind.NOT_A_STREAM, 200)


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        (Kind.UNAUTHORIZED, [401, 403, 407]),
        (Kind.GONE, [204, 205, 404]),
        (Kind.REFUSED, [400, 402, 405, 410, 412, 416, 422, 451, 499]),
        (Kind.UNAVAILABLE, [408, 409, 421, 423, 424, 425, 426, 429, 431, 494]),
        (Kind.UNAVAILABLE, [500, 502, 503, 504, 599, 600, 999, 201, 202, 203, 206, 226, 300, 304, 305, 100]),
    ],
)
def test_each_status_has_a_kind(kind: Kind, statuses: list[int]) -> None:
    """Even with an event stream's type, the body is not parsed. Retry-After is kept."""
    for status in statuses:
        outcome = outcome_of_head(status, EVENT_STREAM, 7.0)
        assert outcome is not None
        assert (outcome.kind, outcome.status, outcome.retry_after) == (kind, status, 7.0)
        assert outcome.detail.partition(":")[0] == f"status {status}"


@pytest.mark.parametrize("status", [401, 403, 407])
def test_rejected_credentials_name_the_setting(status: int) -> None:
    """The line is in the log and in the status at every try."""
    outcome = outcome_of_head(status, EVENT_STREAM)
    assert outcome is not None
    assert "check the " in outcome.detail


# Ids in headers


@pytest.mark.parametrize("id_", ["", "7", "a b", "a\tb", "é中😀", "\x80", "\xa0x", '"', "x" * 10_000])
def test_an_id_that_a_header_keeps_unchanged_is_sendable(id_: str) -> None:
    """UTF-8 is sendable."""
    assert sendable(id_)


@pytest.mark.parametrize("id_", ["a\rb", "a\nb", "\0", " 7", "7 ", "\t7", "7\t", " ", "a\x01b", "\x7f", "\ud800"])
def test_an_id_that_http_cannot_carry_is_not_sendable(id_: str) -> None:
    """Forbidden characters, and blanks that HTTP removes."""
    assert not sendable(id_)


def test_a_disconnection_has_its_outcome_as_text() -> None:
    """For a log that gets only the exception."""
    assert str(Disconnected(Outcome(Kind.GONE, "status 404", 404))) == "gone: status 404"
