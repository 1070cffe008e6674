"""The output of `status` for the JSON of one or several daemons."""

from __future__ import annotations

import re
from typing import Any

import pytest
from rich.console import Console

from bridge.admin.status.fleet import members, ranked, rates_between, warnings
from bridge.admin.status.replicas import BadUrl, Endpoint, Outcome, Replica
from bridge.admin.status.text import parts, spans


def session(name: str, state: str = "streaming", **more: Any) -> dict[str, Any]:
    return {"server": "local", "session": name, "state": state, "epoch": 7, "sequence": 3, "last_error": None, **more}


def shards(*numbers: int, state: str = "owned", trouble: str | None = None) -> list[dict[str, Any]]:
    return [{"shard": number, "state": state, "term": 9, "sessions": 0, "trouble": trouble} for number in numbers]


def replica(
    name: str,
    *sessions: dict[str, Any],
    owned: list[dict[str, Any]] | None = None,
    ready: bool = True,
    namespace: str = "mix",
    others: dict[str, int] | None = None,
) -> Replica:
    status: dict[str, Any] = {
        "bridge": {"owner": name, "namespace": namespace, "version": "1", "started_at_ms": 0},
        "sessions": list(sessions),
    }
    status |= {} if owned is None else {"shards": owned, "shard_count": 4}
    status |= {"replicas": others or {}}
    failing = () if ready else ("no broker answers",)
    return Replica(f"http://{name}:1", Outcome.ANSWERED, None, status, ready, failing)


AWAY = Replica("http://c:1", Outcome.AWAY, "cannot be reached: \x1b[2J")


def printed(*replicas: Replica, most: int | None = None) -> list[str]:
    """The lines on a wide terminal."""
    out = Console(width=400, markup=False, emoji=False, highlight=False)
    with out.capture() as captured:
        for part in parts(replicas, 90_000, most):
            out.print(part, soft_wrap=True)
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://a:8090", "http://a:8090"),
        ("a:8090", "http://a:8090"),
        ("https://a", "https://a:443"),
        ("http://a:1/", "http://a:1"),
        ("http://a:1/api/status", "http://a:1"),
        ("http://a:1/mix/readyz", "http://a:1/mix"),
        ("http://[::1]:5", "http://[::1]:5"),
    ],
)
def test_an_endpoint_is_parsed_from_a_url_or_host_and_port(text: str, url: str) -> None:
    assert Endpoint.of(text).url == url


@pytest.mark.parametrize(
    "text",
    ["", "http://", "ftp://a", "http://u:secret@a", "http://a:x", "a b", "http://a?secret", "http://a/\n", "::1:"],
)
def test_the_error_about_a_wrong_url_does_not_repeat_it(text: str) -> None:
    """It may hold a password."""
    with pytest.raises(BadUrl) as refused:
        Endpoint.of(text)
    assert "secret" not in str(refused.value)


def test_one_table_has_all_replicas_and_their_shards() -> None:
    """Owned shards as spans, others with their state, and a replica that does not answer."""
    text = printed(
        replica("a", session("x", in_flight=12), owned=shards(0, 1) + shards(3, state="leaving")),
        replica("b", owned=shards(3, state="restoring"), ready=False),
        AWAY,
    )
    assert text[0] == "mix: 2 of 3 replicas answer, 1 session: 1 streaming"
    assert [line.split() for line in text[2:8]] == [
        ["REPLICA", "STATE", "SESSIONS", "IN", "FLIGHT", "UP", "VERSION", "SHARDS"],
        ["a", "ready", "1", "12", "1m", "1", "0-1,", "3", "leaving"],
        ["b", "not", "ready", "0", "0", "1m", "1", "3", "restoring"],
        ["c:1", "away", "-", "-", "-", "-", "-"],
        ["b:", "no", "broker", "answers"],
        ["c:1:", "cannot", "be", "reached:", "\\x1b[2J"],
    ]
    assert text[8] == "1 shard has no owner here: just being moved, or not owned"


def test_sessions_with_a_problem_come_first() -> None:
    """Refused and crashed ones, then those with an error, then the others by name. Errors are below the table."""
    text = printed(
        replica("a", session("2"), session("1"), session("err", "waiting", last_error="no\nroute")),
        replica("b", session("dead", "crashed")),
    )
    rows = [word for line in text for word in line.split() if "local/" in word or "route" in word]
    assert rows == ["local/dead", "local/err", "local/1", "local/2", "local/err:", "no\\nroute"]
    assert text[0].endswith("2 streaming, 1 crashed, 1 waiting, 2 with a problem")


@pytest.mark.parametrize("most", [12, 20, 40])
def test_a_long_list_is_cut_with_a_hint(most: int) -> None:
    """It fits into the lines, and the last line counts the sessions that are left out."""
    troubled = [session(f"t{number}", "waiting", last_error="refused") for number in range(10)]
    text = printed(replica("a", *troubled, *(session(f"s{number}") for number in range(200))), most=most)
    assert len(text) <= most
    rows = [line for line in text if re.match(r"(waiting|streaming) +local/", line)]
    shown = len(rows)
    left = 10 - sum("local/t" in line for line in rows)
    which = f"{left} of them with a problem" if left else "none of them with a problem"
    assert text[-1] == f"and {210 - shown} sessions more, " + which + " (--all, or --json)"
    assert len(printed(replica("a", *troubled))) == 6 + 20


def test_contradictions_are_reported() -> None:
    """A shard with two owners, a session bridged twice, a shard that cannot be restored, two namespaces."""
    found = members([
        replica("a", session("x"), owned=shards(0)),
        replica("b", session("x"), owned=shards(0) + shards(1, state="blocked", trouble="see\nthis")),
        replica("c", session("x"), namespace="other"),
    ])  # fmt: skip
    said = "\n".join(warnings(found))
    assert "different namespaces: mix, other" in said
    assert "shard 0 has 2 owners: a, b" in said
    assert "local/x by a and b" in said
    assert "b, shard 1 (blocked): see\nthis" in said
    assert not list(warnings(members([replica("a", session("x"), owned=shards(0, 1, 2, 3))])))


@pytest.mark.parametrize(
    "status",
    [
        {"sessions": []},
        {"sessions": [7, {}, {"state": None, "epoch": "x", "last_event_age": "y", "in_flight": True}], "bridge": 3},
        {"sessions": [session("x")], "shards": ["x", {"shard": "y"}], "bridge": {"started_at_ms": "z"}, "topics": [1]},
    ],
)
def test_the_status_of_another_version_is_shown_as_far_as_possible(status: dict[str, Any]) -> None:
    """Members that are missing, of another type or unknown."""
    text = printed(Replica("http://a:1", Outcome.ANSWERED, None, status, ready=True))
    assert any(line.startswith("a:1") for line in text)


def test_owners_that_were_not_queried_are_named() -> None:
    """With their number of shards. Nothing is reported if all shards are known, or none."""
    (said,) = warnings(members([replica("a", owned=shards(0, 1), others={"b": 2})]))
    assert said == "also running, not queried (--url): b (2 of 4 shards)"
    for fleet in (
        [replica("a")],
        [replica("a", owned=shards(0, 1), others={"b": 2}), replica("b", owned=shards(2, 3), others={"a": 2})],
        [],
    ):
        assert not list(warnings(members(fleet)))
    assert ranked([]) == []


def test_numbers_are_shortened_to_spans() -> None:
    assert spans([4, 0, 1, 2, 7, 8]) == "0-2 4 7-8"
    assert spans([]) == ""


def watched(before: list[dict[str, Any]], now: list[dict[str, Any]], seconds: float = 2.0) -> list[str]:
    """The lines of the second query of ``--watch``."""
    former, present = (
        [one for member in members([replica("a", *each)]) for one in member.sessions] for each in (before, now)
    )
    out = Console(width=400, markup=False, emoji=False, highlight=False)
    with out.capture() as captured:
        for part in parts([replica("a", *now)], 90_000, None, rates_between(former, present, seconds)):
            out.print(part, soft_wrap=True)
    return [line.rstrip() for line in captured.get().splitlines()]


def test_watch_shows_records_per_second() -> None:
    """Of sessions, replicas and in all; a session of a new epoch has no rate yet."""
    before = [session("s1", acknowledged_sequence=10), session("s2", acknowledged_sequence=5, epoch=6)]
    now = [session("s1", acknowledged_sequence=13), session("s2", acknowledged_sequence=1, epoch=7)]
    lines = watched(before, now)
    assert lines[0].endswith("2 records/s")
    row = {line.split()[1]: line.split() for line in lines if "local/" in line}
    header = next(line for line in lines if line.startswith("STATE"))
    assert header.split()[:4] == ["STATE", "SESSION", "SEQUENCE", "RATE"]
    assert row["local/s1"][3] == "1.5"
    assert row["local/s2"][3] == "-"
    assert next(line for line in lines if line.startswith("a ")).split()[4] == "1.5"
    assert not any("RATE" in line for line in printed(replica("a", *now)))


def test_watch_sorts_by_trouble() -> None:
    """A bad state, an error, records that do not move, no stream, then the others by name."""
    sessions = [
        session("a-well", in_flight=4, acknowledged_sequence=9),
        session("b-connecting", "connecting"),
        session("c-stuck", in_flight=4),
        session("d-error", "waiting", last_error="refused"),
        session("e-crashed", "crashed", last_error="bug"),
    ]
    before = [one | {"acknowledged_sequence": 0} for one in sessions]
    order = [line.split()[1].partition("/")[2] for line in watched(before, sessions) if " local/" in line]
    assert order == ["e-crashed", "d-error", "c-stuck", "b-connecting", "a-well"]
