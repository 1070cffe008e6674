"""What counts as JSON, against Python's own parser, and where that one is too kind or gives up."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.records.json_text import MAX_DEPTH, NotJson, indented, json_flaw, plain

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
JSON_TEXTS = st.builds(
    lambda value, ascii_only, indent: json.dumps(value, ensure_ascii=ascii_only, indent=indent),
    JSON_VALUES,
    st.booleans(),
    st.sampled_from([None, 0, 2]),
).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))
FRAGMENTS = ["", ",", ":", "[", "]", "{", "}", '"', "\\", "\\u", "\\ud800", "0", "-", ".", "e5", "true", "nul", "NaN"]
ALMOST_JSON = st.builds(
    lambda text, at, fragment, cut: text[:at] + fragment + text[at + cut :],
    JSON_TEXTS,
    st.integers(0, 30),
    st.sampled_from([*FRAGMENTS, "Infinity", "\x00", "\x1f", "\x7f", " ", "\u00a0", "\ufeff", "\n", "\u2028"]),
    st.integers(0, 2),
)


def python_says_json(text: str) -> bool:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(text, parse_constant=refuse, parse_int=str)
    except ValueError:
        return False
    return True


@settings(deadline=None, database=None)
@given(JSON_TEXTS | ALMOST_JSON | st.text(alphabet='[]{},:"\\0-1.eE tn', max_size=12))
def test_the_decision_is_that_of_the_grammar(text: str) -> None:
    """Whatever the text, we agree with a parser that follows RFC 8259 to the letter."""
    assert (json_flaw(text) is None) == python_says_json(text)


@settings(deadline=None, database=None)
@given(JSON_TEXTS)
def test_plain_keeps_what_every_parser_takes(text: str) -> None:
    """A text without extremes is only looked at, not changed."""
    assert plain(text) == text or len(text) > 30


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a":-Infinity}', "", "\ufeff{}", '"\x01"', "01", "1.", "{}x"])
def test_what_other_parsers_let_pass_is_not_json(text: str) -> None:
    """Not-a-numbers, byte order marks, control characters and stumps are no JSON, and the error shows none of it."""
    flaw = json_flaw(text)
    assert flaw is not None
    assert flaw.startswith("not JSON (RFC 8259) after character")


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
    """Lone surrogates, endless numbers, repeated keys and deep nesting are in the grammar."""
    assert json_flaw(text) is None
    json.loads(plain(text))


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 900_000])
def test_bottomless_nesting_is_refused_without_a_crash(depth: int) -> None:
    """Nesting past the limit is not JSON, however deep, wherever on the stack the question is asked."""
    assert json_flaw("[" * depth + "]" * depth) == f"nested deeper than {MAX_DEPTH}"


def test_plain_replaces_the_extremes_and_keeps_the_types() -> None:
    """Long numbers become 0, lone surrogates U+FFFD (pairs stay), the contents of deep parts go."""
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
def test_laid_out_json_is_as_python_lays_it_out(value: object, ascii_only: bool, before: int | None) -> None:  # noqa: FBT001 - a case
    """Whatever the layout was before; strings and numbers as they stand there."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=before)
    assert indented(text) == json.dumps(value, ensure_ascii=ascii_only, indent=2)


def test_laying_out_alters_nothing_and_has_an_end() -> None:
    """Keys that stand there twice, forms of numbers; deep brackets do not become gigabytes of blanks; else refused."""
    assert indented('{"a" : 1.0e2 ,"a":[ ] }') == '{\n  "a": 1.0e2,\n  "a": []\n}'
    deep = "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH
    assert len(indented(deep)) < 50 * len(deep)
    with pytest.raises(NotJson):
        indented('{"a":')
