"""The key that was probably meant by an unknown one. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from bridge.settings.catalogue import ROOT, Path, Unknown, all_keys, dotted, fields_of, variable

_ALIKE = 0.6  # of 1, as difflib counts: a short name with one wrong letter or two swapped ones is above


def hint(path: Path) -> str:
    """Name the nearest key, as in TOML and as a variable."""
    found = nearest(path)
    name = "" if "<name>" in found else f" ({variable(found)})"
    return f"nearest known key: {dotted(found)}{name}"


def nearest(path: Path) -> Path:
    """The known key that was probably meant: the most alike on the level of each unknown name.

    If no name on that level is alike, the key may belong elsewhere (`port` for `http.port`): then all keys compete.
    They also do if one of them is more alike: `MIX_BRIDGE_HTTP_PORT` is more like `http.port` than like `http`.
    """
    place, rest = ROOT, list(path)
    while rest and place.is_table:
        if place.names is not None and place.names.whole:
            rest = [".".join(rest)]
        name = rest.pop(0)
        if place.names is None:
            known = difflib.get_close_matches(_comparable(name), fields_of(place.annotation), n=1, cutoff=_ALIKE)
            name = known[0] if known else name
        try:
            place = place.child(name)
        except (Unknown, ValueError):
            return _nearest_of_all(path)
    return max(place.path, _nearest_of_all(path), key=lambda found: _likeness(dotted(found), dotted(path)))


def most_alike(wanted: str, known: Iterable[str]) -> str:
    """The known name most like the wanted one, with any separators and capitals."""
    return max(known, key=lambda name: _likeness(name, wanted))


def _nearest_of_all(path: Path) -> Path:
    known = (_with_names(key.path, path) for key in all_keys())
    return max(known, key=lambda candidate: _likeness(dotted(candidate), dotted(path)))


def _with_names(template: Path, path: Path) -> Path:
    """The template with the names that the path has at its places, or between the words of the template."""
    names = [path[at] if at < len(path) else "<name>" for at, segment in enumerate(template) if segment == "*"]
    words = "_".join("(.+)" if segment == "*" else segment for segment in template)
    if names and (found := re.fullmatch(words, _comparable(dotted(path)))) and len(template) != len(path):
        names = [*found.groups()]
    return tuple(names.pop(0) if segment == "*" else segment for segment in template)


def _likeness(known: str, wanted: str) -> float:
    known, wanted = _comparable(known), _comparable(wanted)
    # The end counts a little more: `port` alone is more like http.port than like topics.create
    return difflib.SequenceMatcher(None, known, wanted).ratio() + (0.3 if known.endswith("_" + wanted) else 0.0)


def _comparable(name: str) -> str:
    # Separators do not count: kafka.bootstrap-servers and KAFKA_BOOTSTRAP_SERVERS mean the same to a person
    return re.sub(r"[._-]+", "_", name.lower()).strip("_")
