"""docs/logs.md lists every log event."""

from __future__ import annotations

import re

from tests.docs.log_events import as_markdown, log_events, meanings
from tests.support.repository import REPOSITORY


def test_docs_logs_md_is_up_to_date() -> None:
    """Otherwise: make docs."""
    assert (REPOSITORY / "docs/logs.md").read_text() == as_markdown()


def test_every_log_event_has_a_meaning_and_no_other_has_one() -> None:
    """In ``tests/docs/log_events.toml``; then: make docs."""
    assert {each.name for each in log_events()} == set(meanings())
    assert all(re.fullmatch(r"\S.*[.]", meaning) for meaning in meanings().values())


def test_the_calls_of_all_loggers_are_found() -> None:
    """A call in a form that the generator does not know would be missing from the page."""
    call = re.compile(r"log\.(?:debug|info|warning|error|exception|log)\(|\.critical\(|^ *level\(", re.MULTILINE)
    files = [
        path for path in (REPOSITORY / "bridge").rglob("*.py") if path.name != "logs.py" or path.parts[-2] == "cli"
    ]
    sources = [path.read_text() for path in files]  # without the example in the docstring of bridge.observe.logs
    found = log_events()
    assert sum(each.calls for each in found) == sum(len(call.findall(source)) for source in sources)
    assert len(found) >= 70
    connected = next(each for each in found if each.name == "connected")
    assert (connected.loggers, connected.levels) == ({"bridge.session"}, ["info"])
    assert connected.fields == ["server", "session", "last_event_id"]


def test_lines_about_a_session_name_server_and_session() -> None:
    """A field ``session`` without ``server`` would not say whose session it is."""
    assert [each.name for each in log_events() if "session" in each.fields and "server" not in each.fields] == []
    by_session = [each for each in log_events() if "bridge.session" in each.loggers]
    assert all({"server", "session"} <= set(each.fields) for each in by_session)
