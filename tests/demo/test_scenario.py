"""When sessions come and go in the demo, and their names."""

from __future__ import annotations

from itertools import islice, pairwise

from bridge.demo.scenario import change_times
from bridge.demo.system import names


def test_all_session_names_differ():
    many = list(islice(names(), 500))
    assert len(set(many)) == 500


def test_a_demo_of_ten_seconds_shows_a_created_and_a_deleted_session():
    times = list(islice(change_times(), 20))
    assert times[1] <= 6
    assert all(one < other for one, other in pairwise(times))
