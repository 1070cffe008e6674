"""The simulated server's journal: exact bytes, in order, on disk when the call returns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.simulator.server.journal import Journal, JournalEntry, read_journal


def entry(session: str, sequence: int, data: bytes = b"{}") -> JournalEntry:
    return JournalEntry(session, sequence, str(sequence), "content", data)


@given(st.text(), st.integers(1), st.text(), st.text(), st.binary())
def test_a_line_gives_back_the_entry(session, sequence, event_id, event, data):
    """Any text and any bytes survive, in one line."""
    written = JournalEntry(session, sequence, event_id, event, data)
    line = written.to_line()
    assert line.count(b"\n") == 1
    assert JournalEntry.from_line(line) == written


def test_entries_come_back_per_session_in_order(tmp_path):
    """Sessions do not mix, however they were interleaved; ``after`` skips what is known."""
    journal = Journal(tmp_path / "journal")
    journal.append([entry("a", 1), entry("b", 1, b"x" * 10_000), entry("a", 2, "ö\u2028".encode())])
    journal.append([entry("a", 3)])
    assert list(journal.entries("a")) == [entry("a", 1), entry("a", 2, "ö\u2028".encode()), entry("a", 3)]
    assert list(journal.entries("a", after=2)) == [entry("a", 3)]
    assert list(journal.entries("b")) == [entry("b", 1, b"x" * 10_000)]
    assert list(journal.entries("never")) == []
    assert journal.counts() == {"a": 3, "b": 1}
    journal.close()


def test_the_file_is_complete_while_the_server_still_runs(tmp_path):
    """Nothing waits in a buffer of the process, so a kill -9 takes nothing with it."""
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.append([entry("a", 1), entry("b", 1)])
    assert read_journal(path) == {"a": [entry("a", 1)], "b": [entry("b", 1)]}
    journal.close()


def test_an_unfinished_last_line_is_left_out(tmp_path):
    """A kill in the middle of a write leaves a stump, which was never published."""
    path = tmp_path / "journal"
    path.write_bytes(entry("a", 1).to_line() + entry("a", 2).to_line()[:-5])
    assert read_journal(path) == {"a": [entry("a", 1)]}


def test_an_existing_file_is_refused(tmp_path):
    """Two runs in one journal would prove nothing."""
    path = tmp_path / "journal"
    path.write_bytes(b"")
    with pytest.raises(FileExistsError):
        Journal(path)


def test_without_a_path_it_works_the_same_and_leaves_nothing():
    """The default needs no name and no cleaning up."""
    journal = Journal()
    journal.append([entry("a", 1)])
    assert list(journal.entries("a")) == [entry("a", 1)]
    journal.close()
    journal.close()
