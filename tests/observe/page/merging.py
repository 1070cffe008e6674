"""What a page does with the changes that it gets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Self

from tests.fakes.raw_client import RawStream


def merge_patch(target: Any, patch: Any) -> Any:
    """``MergePatch`` of RFC 7396, section 2, line by line."""
    if not isinstance(patch, dict):
        return patch
    if not isinstance(target, dict):
        target = {}
    result = dict(target)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def views(opened: RawStream) -> Iterator[tuple[str, Any]]:
    """The messages of a stream: its event and the view as the page has it then."""
    shown: Any = None
    while True:
        for event in opened.events(1):
            content = json.loads(event.data)
            shown = content if event.event == "status" else merge_patch(shown, content)
            yield event.event, shown


class Messages:
    """The views of one page."""

    def __init__(self, port: int) -> None:
        self._opened = RawStream(f"http://127.0.0.1:{port}", "/api/stream")
        self._views = views(self._opened)

    def __enter__(self) -> Self:
        self._opened.__enter__()
        assert "200 OK" in self._opened.head()
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.__exit__(*error)

    def first(self, is_wanted: Callable[[Any], bool]) -> Any:
        return next(shown for _, shown in self._views if is_wanted(shown))
