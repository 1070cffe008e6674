"""Parsing the list of sessions: lenient with entries, strict with the shape."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bridge.mix.listing import MOST_ENTRIES, Listing, ListTooLarge, SessionSummary, read_listing, unix_ms_of

MS = 1_764_000_000_123


def test_sessions_are_returned_in_order() -> None:
    """Fields we do not need are not looked at."""
    listing = read_listing(
        json.dumps(
            [
                {"id": "a", "title": 5, "sessionType": "main", "createdAt": "2025-11-24T16:00:00.123Z", "cost": None},
                {"id": "b", "sessionType": "subagent", "createdAt": MS, "parentSessionId": 7},
                {"id": "c", "sessionType": "planner", "parentSessionId": ""},
            ]
        ).encode()
    )
    assert listing.sessions == [
        SessionSummary("a", "main", MS),
        SessionSummary("b", "subagent", MS),
        SessionSummary("c", "planner", None),
    ]
    assert listing.skipped == []


def test_an_invalid_entry_is_skipped() -> None:
    """The others are listed. The invalid ones are reported without their content."""
    entries = [
        1,
        {},
        {"id": ""},
        {"id": 7},
        {"id": "\ud800"},
        {"id": "x" * 1025},
        {"id": ".."},
        {"id": "."},
        {"id": "a"},
        {"id": "a"},
        {"id": "b"},
    ]
    listing = read_listing(json.dumps(entries).encode())
    assert [session.id for session in listing.sessions] == ["a", "b"]
    assert listing.skipped == [
        "entry 0: not an object",
        "entry 1: id is not a non-empty string",
        "entry 2: id is not a non-empty string",
        "entry 3: id is not a non-empty string",
        "entry 4: id holds a lone surrogate, which UTF-8 cannot encode",
        "entry 5: id is longer than 1024 characters",
        "entry 6: id is '.' or '..', which a URL cannot hold (RFC 3986, section 5.2.4)",
        "entry 7: id is '.' or '..', which a URL cannot hold (RFC 3986, section 5.2.4)",
        "entry 9: the same id as an entry before",
    ]
    assert listing.skipped_count == 9


@pytest.mark.parametrize("title", ['"\\ud800"', "1" * 5000, "NaN"])
def test_an_unusual_title_does_not_invalidate_the_list(title: str) -> None:
    """Fields that nothing depends on may hold anything."""
    [session] = read_listing(f'[{{"id":"a","title":{title}}}]'.encode()).sessions
    assert replace(session, title="") == SessionSummary("a", "main", None)


@pytest.mark.parametrize(
    ("title", "kept"), [("t", "t"), ("", ""), (None, ""), (5, ""), ("a" * 200, "a" * 200), ("a" * 201, "a" * 199 + "…")]
)
def test_a_title_is_kept_for_people(title: object, kept: str) -> None:
    """A text, cut to 200 characters."""
    [session] = read_listing(json.dumps([{"id": "a", "title": title}]).encode()).sessions
    assert session.title == kept


def test_invalid_utf8_does_not_invalidate_the_list() -> None:
    """It is replaced, as in a stream."""
    assert read_listing(b'[{"id":"a","title":"\xff"}]').sessions[0].id == "a"


def test_an_empty_list_may_be_null() -> None:
    """A Go server encodes an empty slice so."""
    assert read_listing(b"[]") == read_listing(b"null") == Listing([], [])


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"sessions":[]}', b"[" * 100_000, b'"a"', b"7"])
def test_any_other_body_is_not_a_list(body: bytes) -> None:
    """A response of another shape says nothing about sessions."""
    with pytest.raises(ValueError, match="the list of sessions is"):
        read_listing(body)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (1_764_000_000, 1_764_000_000_000),
        (1_764_000_000.5, 1_764_000_000_500),
        (MS, MS),
        (float(MS), MS),
        (MS * 1000, MS),
        (MS * 1_000_000, MS),
        ("1764000000", 1_764_000_000_000),
        ("2025-11-24T16:00:00.123Z", MS),
        ("2025-11-24T16:00:00.123456789Z", MS),
        ("2025-11-24T17:00:00.123+01:00", MS),
        (" 2025-11-24T16:00:00.123 ", MS),
        ("yesterday", None),
        ("9999-12-31T23:59:59-23:00", None),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
        (True, None),
        ({}, None),
        (0, None),
        (-5, None),
        (float("nan"), None),
        (float("inf"), None),
        (1e300, None),
        ("1e300", None),
    ],
)
def test_times_are_parsed_in_every_usual_format(moment: object, expected: int | None) -> None:
    """Unix seconds to nanoseconds, RFC 3339. Unknown formats are None."""
    assert unix_ms_of(moment) == expected


def test_skipped_entries_are_counted_and_a_few_are_described() -> None:
    """A list of nothing but repeats costs no memory."""
    listing = read_listing(b"[" + b",".join([b'{"id":"a"}'] * 5000) + b"]")
    assert ([session.id for session in listing.sessions], listing.skipped_count) == (["a"], 4999)
    assert listing.skipped[0] == "entry 1: the same id as an entry before"
    assert len(listing.skipped) == 10


def test_entries_beyond_the_limit_are_not_read() -> None:
    """As many sessions as max_sessions may be at most."""
    entries = ",".join(f'{{"id":"{number}"}}' for number in range(MOST_ENTRIES + 5))
    listing = read_listing(f"[{entries}]".encode())
    assert (len(listing.sessions), listing.is_cut) == (MOST_ENTRIES, True)


def test_a_list_of_very_many_objects_is_refused() -> None:
    """Each takes memory, twenty times its two bytes."""
    with pytest.raises(ListTooLarge, match="objects and arrays"):
        read_listing(b'[{"id":"a","x":[' + b"{}," * 1_000_001 + b"0]}]")


@pytest.mark.parametrize("body", ["[1,]", "[1 2]", "[,]", "[", "[1", "[] []", "[]x", "]", "", "{", "[1,2}"])
def test_a_broken_array_is_no_list(body: str) -> None:
    """Entries before the fault do not count: the rest may be missing."""
    with pytest.raises(ValueError, match="the list of sessions is not JSON"):
        read_listing(body.encode())


@pytest.mark.parametrize("body", ["[]", " [ ] ", "null", "\n[\r]\t", '[ {"id":"a"} , {"id":"a"} ]'])
def test_blanks_are_allowed_everywhere(body: str) -> None:
    """As JSON allows them."""
    assert len(read_listing(body.encode()).sessions) <= 1
