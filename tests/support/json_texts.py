"""Random JSON texts, texts that are almost JSON, and the decision of Python's own parser."""

from __future__ import annotations

import json

from hypothesis import strategies as st

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


def python_accepts(text: str) -> bool:
    """Return whether Python's parser, without its extensions, accepts the text."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(text, parse_constant=refuse, parse_int=str)
    except ValueError:
        return False
    return True
