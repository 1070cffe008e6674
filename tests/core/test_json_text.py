"""The decision what is JSON, compared with Python's parser, and the cases in which that parser is wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.records.json_text import MAX_DEPTH, NotJson, indented, json_violation, plain
from tests.support.json_texts import ALMOST_JSON, JSON_TEXTS, JSON_VALUES, python_accepts


@settings(deadline=None, database=None)
@given(JSON_TEXTS | ALMOST_JSON | st.text(alphabet='[]{},:"\\0-1.eE tn', max_size=12))
def test_the_decision_is_that_of_the_grammar(text: str) -> None:
    """For every text the decision equals that of a strict RFC 8259 parser."""
    assert (json_violation(text) is None) == python_accepts(text)


@settings(deadline=None, database=None)
@given(JSON_TEXTS)
def test_plain_does_not_change_ordinary_texts(text: str) -> None:
    """Only deep parts, long numbers and lone surrogates are replaced."""
    assert plain(text) == text or len(text) > 30


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a":-Infinity}', "", "\ufeff{}", '"\x01"', "01", "1.", "{}x"])
def test_texts_that_lax_parsers_accept_are_not_json(text: str) -> None:
    """NaN, byte order marks, control characters and incomplete texts are refused; the error shows none of the text."""
    violation = json_violation(text)
    assert violation is not None
    assert violation.startswith("not JSON (RFC 8259) after character")


@pytest.mark.parametrize(
    "text",
    [
        '{"a":"NaN","Infinity":1}',
        '"\\ud800"',
        '{"\\udc00":1}',
        "1" * 5000,
        "1e99999",
        '{"a":1,"a":2}',
        '"\x7f\u2028"',
        "[" * MAX_DEPTH + "]" * MAX_DEPTH,
        '{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH,
    ],
)
def test_odd_but_grammatical_text_is_json(text: str) -> None:
    """The grammar allows lone surrogates, very long numbers, repeated keys and deep nesting."""
    assert json_violation(text) is None
    json.loads(plain(text))


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 900_000])
def test_deep_nesting_is_refused_without_a_crash(depth: int) -> None:
    """Nesting beyond the limit is not JSON, at any depth and from any stack."""
    assert json_violation("[" * depth + "]" * depth) == f"nested deeper than {MAX_DEPTH}"


def test_plain_replaces_extremes_and_keeps_the_types() -> None:
    """Long numbers become 0, lone surrogates U+FFFD (pairs stay), deep parts become empty."""
    text = (
        '{"a\\ud800":"\\ud83d\\ude00 \\\\ud800 \\udc00","n":-'
        + "1" * 99
        + ',"d":'
        + "[" * 60
        + "1,2,{}"
        + "]" * 60
        + "}"
    )
    assert plain(text) == '{"a\\ufffd":"\\ud83d\\ude00 \\\\ud800 \\ufffd","n":0,"d":' + "[" * 50 + "]" * 50 + "}"
    with pytest.raises(NotJson):
        plain("{")


@given(value=JSON_VALUES, ascii_only=st.booleans(), before=st.sampled_from([None, 0, 3]))
def test_indented_json_equals_pythons_layout(value: object, ascii_only: bool, before: int | None) -> None:  # noqa: FBT001 - a case
    """For every layout before; strings and numbers stay unchanged."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=before)
    assert indented(text) == json.dumps(value, ensure_ascii=ascii_only, indent=2)


def test_indenting_changes_no_token_and_is_bounded() -> None:
    """Repeated keys and number notations stay; deep brackets do not become gigabytes of blanks."""
    assert indented('{"a" : 1.0e2 ,"a":[ ] }') == '{\n  "a": 1.0e2,\n  "a": []\n}'
    deep = "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH
    assert len(indented(deep)) < 50 * len(deep)
    with pytest.raises(NotJson):
        indented('{"a":')
