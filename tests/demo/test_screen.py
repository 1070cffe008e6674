"""The demo's screen without a terminal: plain lines, and a summary that names every problem."""

from __future__ import annotations

import io

from bridge.admin.tail.lines import Line
from bridge.admin.tail.output import short
from bridge.demo.screen import Screen
from bridge.demo.summary import Counts, Summary


def test_long_session_ids_are_cut_and_control_characters_escaped():
    assert short("3fa8c1d2-0000-4000-8000-000000000000") == "3fa8c1d2…"
    assert short("\x1b[2J") == "\\x1b[2J"


def printed(act) -> list[str]:
    out = io.StringIO()
    with Screen(out, colours=True) as screen:
        act(screen)
    return out.getvalue().splitlines()


def test_without_a_terminal_lines_are_plain():
    """No colours, no cursor movements, one output line per line, no markup."""
    line = Line("demo/amber", "content", "[bold]:smile:[/] " + "x" * 300, "default", 3)
    shown = printed(lambda screen: (screen.show([line]), screen.status("01:05 │ 20 events/s", [1, 10])))
    assert len(shown) == 2
    assert "\x1b" not in "".join(shown)
    assert shown[0].startswith("amber     content")
    assert "[bold]:smile:[/] xxx" in shown[0]
    assert shown[0].endswith("… x3")
    assert len(shown[0]) < 160
    assert shown[1] == "— 01:05 │ 20 events/s"


def test_the_summary_shows_the_problems_of_each_session():
    summary = Summary({"amber": Counts(10, 10), "birch": Counts(10, 8, 1, 1, 1)})
    shown = "\n".join(printed(lambda screen: screen.summary(summary, {"birch": "created during the demo"})))
    assert "birch     8 of 10 events, 2 lost, 1 repeated, 1 altered, 1 out of order  created during the demo" in shown
    for name, number in {"sent": 20, "arrived": 18, "lost": 2, "repeated": 1, "altered": 1, "disorder": 1}.items():
        assert f"  {name:<9} {number:>2}" in shown
    assert "nothing lost" not in shown


def test_the_summary_of_many_sessions_is_short():
    summary = Summary({f"s{number}": Counts(1, 1) for number in range(100)})
    shown = printed(lambda screen: screen.summary(summary, {}))
    assert "  and 88 more sessions" in shown
    assert "  sent      100  according to the server's own journal" in shown
