"""Whether a session that answers 404 has ended."""

from __future__ import annotations

from bridge.daemon.gone_sessions import GoneSessions

NAMES = [f"s{number}" for number in range(10)]


def gone_sessions(*, discovers: bool = False, streaming: list[str] | None = None) -> GoneSessions:
    """Of a server with these sessions that have streamed."""
    one = GoneSessions(30.0, discovers=discovers)
    for name in NAMES if streaming is None else streaming:
        one.streamed(name)
    return one


def test_the_list_decides_where_there_is_one() -> None:
    """Only a list that was requested after the first 404, and that lacks the session."""
    one = gone_sessions(discovers=True)
    assert not one.may_end("s1", 100.0, 200.0), "no list came yet"
    one.list_came({"s2"}, 90.0)
    assert not one.may_end("s1", 100.0, 200.0), "the list is older than the 404"
    one.list_came({"s1", "s2"}, 150.0)
    assert not one.may_end("s1", 100.0, 200.0), "the list has it"
    one.list_came({"s2"}, 150.0)
    assert one.may_end("s1", 100.0, 200.0)
    one.has_no_list()
    one.list_came({"s1"}, 160.0)
    assert not one.may_end("s1", 100.0, 200.0)


def test_a_server_that_listed_sessions_before_is_in_an_outage_without_a_list() -> None:
    """Its proxy answers any path with 404."""
    one = gone_sessions(discovers=True)
    one.list_came({"s1"}, 50.0)
    one.has_no_list()
    assert not one.may_end("s1", 100.0, 9999.0)


def test_without_a_list_most_sessions_at_once_are_an_outage() -> None:
    """For ten minutes; a few sessions end."""
    for has_list in (False, True):
        one = gone_sessions(discovers=has_list)
        one.has_no_list()
        for name in NAMES[:5]:
            one.failed(name, 100.0)
        assert one.may_end("s1", 100.0, 130.0), "half of them"
        one.failed("s5", 120.0)
        assert not one.may_end("s1", 100.0, 130.0)
        assert not one.may_end("never streamed", 100.0, 130.0)
        assert one.may_end("s1", 100.0, 700.0)
        one.streamed("s2")
        assert one.may_end("s1", 100.0, 130.0)


def test_sessions_that_never_streamed_or_left_do_not_count() -> None:
    """A single session shows nothing about the server."""
    one = gone_sessions(streaming=["a"])
    one.failed("a", 1.0)
    one.failed("b", 1.0)
    assert one.may_end("a", 1.0, 31.0)
    one.streamed("c")
    one.failed("c", None)
    assert one.may_end("a", 1.0, 31.0)
    one.failed("c", 1.0)
    assert not one.may_end("a", 1.0, 31.0)
    one.left("c")
    one.left("c")
    assert one.may_end("a", 1.0, 31.0)


def test_restored_sessions_count_from_their_first_failure() -> None:
    """After a restart in an outage, none has streamed to this process; those not yet requested show nothing."""
    one = gone_sessions(streaming=[])
    for name in NAMES:
        one.restored(name)
    one.failed("s1", 1.0)
    assert one.may_end("s1", 1.0, 31.0)
    one.failed("s2", 2.0)
    assert not one.may_end("s1", 1.0, 31.0)
    one.left("s2")
    one.failed("s2", 2.0)
    assert one.may_end("s1", 1.0, 31.0)


def test_a_server_has_no_list_only_once_a_stream_came() -> None:
    """Before, a proxy may answer 404 for both."""
    one = gone_sessions(discovers=True, streaming=[])
    one.has_no_list()
    assert not one.may_end("s1", 1.0, 9999.0)
    one.streamed("s2")
    one.has_no_list()
    assert one.may_end("s1", 1.0, 31.0)
