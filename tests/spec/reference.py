"""A simple interpreter of the event stream format (HTML, section 9.2.6). It is slow and needs the whole input.

It follows only the standard's rules, to be compared with the reader. Two things are the bridge's own: a block that only
moves the last event ID becomes an event without a name, and the caller can set the first last event ID.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Interpretation:
    """The events of a stream, ``(name, data, id of the block or None, last event ID)``, and its state at the end."""

    events: list[tuple[str, str, str | None, str]] = field(default_factory=list)
    last_event_id: str = ""
    reconnection_time: float | None = None
    unfinished: bool = False


def interpret(stream: bytes, last_event_id: str = "") -> Interpretation:
    """Decode as UTF-8, split into lines, process each line. An incomplete block at the end is discarded."""
    text = stream.decode("utf-8", "replace")
    text = text.removeprefix("\ufeff")
    lines, rest = _lines(text)
    result = Interpretation(last_event_id=last_event_id)
    block = _Block()
    for line in lines:
        if line == "":
            _dispatch(block, result)
            block = _Block()
        else:
            _process(line, block, result)
    result.unfinished = block.seen or rest != ""
    return result


@dataclass
class _Block:
    data: str = ""
    name: str = ""
    id: str | None = None
    seen: bool = False


def _lines(text: str) -> tuple[list[str], str]:
    """Lines end with CR LF, LF or CR. The text after the last line end is not a line."""
    lines = []
    line = ""
    position = 0
    while position < len(text):
        character = text[position]
        if character in "\r\n":
            lines.append(line)
            line = ""
            if text[position : position + 2] == "\r\n":
                position += 1
        else:
            line += character
        position += 1
    return lines, line


def _process(line: str, block: _Block, result: Interpretation) -> None:
    block.seen = True
    if line.startswith(":"):
        return
    name, colon, value = line.partition(":")
    if colon and value.startswith(" "):
        value = value[1:]
    if name == "event":
        block.name = value
    elif name == "data":
        block.data += value + "\n"
    elif name == "id":
        if "\0" not in value:
            block.id = value
    elif name == "retry" and value and all(character in "0123456789" for character in value):
        result.reconnection_time = int(value) / 1000


def _dispatch(block: _Block, result: Interpretation) -> None:
    if block.id is not None:
        result.last_event_id = block.id
    if block.data == "":
        if block.id is not None:
            result.events.append(("", "", block.id, result.last_event_id))
        return
    data = block.data[:-1]
    result.events.append((block.name or "message", data, block.id, result.last_event_id))
