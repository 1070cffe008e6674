"""Who plays in the demo and when: sessions come and go, for ever, each under a name of its own."""

from __future__ import annotations

from itertools import islice, pairwise

from bridge.demo.personas import Change, cues, names


def test_no_name_comes_twice():
    many = list(islice(names(), 500))
    assert len(set(many)) == 500


def test_sessions_come_and_go_in_turn():
    some = list(islice(cues(), 20))
    assert [cue.change for cue in some] == [Change.CREATE, Change.DELETE] * 10
    assert all(one.at < other.at for one, other in pairwise(some))
    assert some[1].at <= 6  # both are seen in a demo of 10 seconds
