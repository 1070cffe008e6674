"""How the checks of ``mix-bridge check`` run, which lines belong to which part, and old certificates."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from bridge.admin.check.checkup import _lines_until
from bridge.admin.check.line import ALL, Line, Part, State, chosen, is_wanted, passed
from bridge.admin.check.offline import expiring
from bridge.admin.waits import Work
from bridge.clock import Deadline
from tests.support.waiting import TIMEOUT

DAY = 86_400


def line(subject: str, state: State = State.OK) -> Line:
    """Return a line about this subject."""
    return Line(subject, state, "")


@pytest.mark.parametrize(
    ("subject", "part"),
    [
        ("settings", Part.SETTINGS),
        ("files", Part.FILES),
        ("kafka", Part.KAFKA),
        ("topic mix.events", Part.TOPICS),
        ("group mix.bridge", Part.GROUP),
        ("replicas", Part.GROUP),
        ("transactions", Part.TRANSACTIONS),
        ("server local", Part.SERVERS),
        ("clock", Part.SERVERS),
        ("http", Part.HTTP),
    ],
)
def test_a_line_belongs_to_one_part(subject: str, part: Part) -> None:
    """Chosen alone it is shown, and without it it is not."""
    assert is_wanted(line(subject), {part})
    assert not is_wanted(line(subject), ALL - {part})


def test_an_unreachable_kafka_fails_every_part_that_needs_it() -> None:
    """Otherwise ``--only topics`` would succeed without a look at any topic."""
    assert is_wanted(line("kafka", State.FAILED), {Part.TOPICS})
    assert not is_wanted(line("kafka", State.FAILED), {Part.HTTP})


def test_names_are_parsed() -> None:
    """Spaces do not matter; an empty name is none."""
    assert chosen("kafka, topics") == {Part.KAFKA, Part.TOPICS}
    with pytest.raises(ValueError, match="allowed: settings, files"):
        chosen("kafka,")


@pytest.mark.parametrize(("days", "said"), [(15, []), (13, ["expires in 13 days"]), (-1, ["has expired"])])
def test_a_certificate_is_reported_two_weeks_before(days: int, said: list[str]) -> None:
    """As the running bridge does; it names the key."""
    found = list(expiring({"kafka.ssl_cert_file": 1000 + days * DAY}, 1000))
    assert [each.detail.removeprefix("a certificate ") for each in found] == said
    assert all(each.state is State.WARNING and "kafka.ssl_cert_file" in (each.hint or "") for each in found)


def test_strict_counts_warnings() -> None:
    """Failures count always."""
    assert passed([line("kafka"), line("clock", State.WARNING)])
    assert not passed([line("kafka"), line("clock", State.WARNING)], strict=True)
    assert not passed([line("kafka", State.FAILED)])


def test_a_check_that_hangs_keeps_its_first_lines() -> None:
    """One more line reports the time-out; the thread is abandoned."""
    freed, found = threading.Event(), Line("kafka", State.OK, "answers")

    def run() -> Iterator[Line]:
        yield found
        freed.wait(TIMEOUT)

    running = Work("check kafka", run)
    try:
        first, late = _lines_until(Deadline.after(0.2), "kafka", running)
    finally:
        freed.set()
    assert first == found
    assert (late.subject, late.state, late.detail.startswith("no answer within")) == ("kafka", State.FAILED, True)
    assert _lines_until(Deadline.after(10), "kafka", running) == [found]
