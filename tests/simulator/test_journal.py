"""The simulated server's journal has exact bytes, in order, and on disk when the call returns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.simulator.server.journal import Journal, JournalEntry, read_journal


def entry(session: str, sequence: int, data: bytes = b"{}") -> JournalEntry:
    return JournalEntry(session, sequence, str(sequence), "content", data)


@given(st.text(), st.integers(1), st.text(), st.text(), st.binary())
def test_any_entry_survives_as_one_line(session, sequence, event_id, event, data):
    written = JournalEntry(session, sequence, event_id, event, data)
    line = written.to_line()
    assert line.count(b"\n") == 1
    assert JournalEntry.from_line(line) == written


def test_entries_are_read_per_session_in_order(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.append([entry("a", 1), entry("b", 1, b"x" * 10_000), entry("a", 2, "ö\u2028".encode())])
    journal.append([entry("a", 3)])
    assert list(journal.entries("a")) == [entry("a", 1), entry("a", 2, "ö\u2028".encode()), entry("a", 3)]
    assert list(journal.entries("a", after=2)) == [entry("a", 3)]
    assert list(journal.entries("b")) == [entry("b", 1, b"x" * 10_000)]
    assert list(journal.entries("never")) == []
    assert journal.counts() == {"a": 3, "b": 1}
    journal.close()


def test_the_file_is_complete_while_the_server_runs(tmp_path):
    """Nothing is in a buffer of the process, so a kill -9 loses nothing."""
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.append([entry("a", 1), entry("b", 1)])
    assert read_journal(path) == {"a": [entry("a", 1)], "b": [entry("b", 1)]}
    journal.close()


def test_an_unfinished_last_line_is_left_out(tmp_path):
    """A kill during a write leaves an entry that was never published."""
    path = tmp_path / "journal"
    path.write_bytes(entry("a", 1).to_line() + entry("a", 2).to_line()[:-5])
    assert read_journal(path) == {"a": [entry("a", 1)]}


def test_an_existing_file_is_refused(tmp_path):
    """A journal must describe one run."""
    path = tmp_path / "journal"
    path.write_bytes(b"")
    with pytest.raises(FileExistsError):
        Journal(path)


def test_a_journal_without_a_path_works_the_same():
    journal = Journal()
    journal.append([entry("a", 1)])
    assert list(journal.entries("a")) == [entry("a", 1)]
    journal.close()
    journal.close()
