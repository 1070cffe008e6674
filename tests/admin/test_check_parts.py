"""Which lines of ``mix-bridge check`` belong to which part, and what certificates are worth a warning."""

from __future__ import annotations

import pytest

from bridge.admin.check.line import Line, State, passed
from bridge.admin.check.offline import expiring
from bridge.admin.check.parts import ALL, Part, chosen, is_wanted

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
