"""Durations and sizes: parsing, and writing in a form that can be parsed again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.settings.quantities import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("10s", 10),
        ("2m", 120),
        ("24h", 86400),
        ("7", 7),
        ("0", 0),
        ("1.5", 1.5),
        ("0.1h", 360),
        ("0.1", 0.1),
    ],
)
def test_durations_take_units_or_plain_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "10 s", "1w", "-1s", "+1", "1e3", "nan", "inf", "10S", "1h30m", "\u0661s", "1.", ".5s"]
)
def test_invalid_durations_are_refused(text):
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@given(st.floats(min_value=0, max_value=1e9, allow_nan=False).filter(lambda seconds: seconds == 0 or seconds > 1e-9))
def test_a_formatted_duration_parses_to_the_same_float(seconds):
    assert parse_duration(format_duration(round(seconds, 9))) == round(seconds, 9)


@pytest.mark.parametrize(
    ("seconds", "text"), [(86400.0, "24h"), (60.0, "60s"), (0.5, "500ms"), (0.0, "0s"), (1e-6, "0.000001s")]
)
def test_durations_are_formatted_short(seconds, text):
    assert format_duration(seconds) == text


@given(st.integers(0, 10**9))
def test_whole_milliseconds_survive_exactly(milliseconds):
    assert parse_duration(f"{milliseconds}ms") == milliseconds / 1000


@pytest.mark.parametrize(
    ("text", "size"),
    [("64KiB", 65536), ("1MiB", 1048576), ("2GiB", 2147483648), ("900", 900), ("5B", 5), ("0", 0), (" 1KiB ", 1024)],
)
def test_sizes_take_units_or_plain_bytes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "KiB", "1KB", "1kib", "1 KiB", "-1", "1.5MiB", "1e3", "\u0663"])
def test_invalid_sizes_are_refused(text):
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@given(st.integers(0, 2**50))
def test_a_formatted_size_parses_to_the_same_number(size):
    assert parse_size(format_size(size)) == size


@given(st.integers(0, 2**20), st.sampled_from(["KiB", "MiB", "GiB"]))
def test_sizes_are_powers_of_1024(number, unit):
    assert parse_size(f"{number}{unit}") == number * 1024 ** (["KiB", "MiB", "GiB"].index(unit) + 1)
