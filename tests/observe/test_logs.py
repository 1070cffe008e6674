"""Logs: what a line looks like, and what it never shows."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import re
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from structlog.stdlib import get_logger

from bridge.observe import logs
from bridge.observe.logs import MASK, configure

log = get_logger("bridge.test")


def failing(text: str) -> None:
    """Something that raises, for a traceback."""
    raise ValueError(text)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """What ``configure`` sets belongs to the process: put it back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs._QUIETER}
    yield
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)


def parsed(stream: io.StringIO) -> list[dict[str, object]]:
    """The lines as JSON."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_json_line_is_one_object_with_its_own_keys_first() -> None:
    """Timestamp in RFC 3339 with milliseconds, level, event and logger, then the caller's keys."""
    out = io.StringIO()
    configure("info", "json", stream=out)
    log.info("record is refused", server="local", session="42", attempt=3)
    [line] = parsed(out)
    assert list(line) == ["timestamp", "level", "event", "logger", "server", "session", "attempt"]
    assert (line["level"], line["event"], line["logger"]) == ("info", "record is refused", "bridge.test")
    assert line["attempt"] == 3
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line["timestamp"]))
    age = datetime.now(UTC) - datetime.fromisoformat(str(line["timestamp"]))
    assert abs(age.total_seconds()) < 60


def test_a_callers_key_does_not_replace_the_lines_own() -> None:
    """A level from a server's data is not the level of the line."""
    out = io.StringIO()
    configure("info", "json", stream=out)
    log.info("odd", level="fatal", timestamp="never", logger="you")
    [line] = parsed(out)
    assert (line["level"], line["logger"]) == ("info", "bridge.test")
    assert line["timestamp"] != "never"


def test_the_level_is_obeyed() -> None:
    """Below the level nothing is written; upper and lower case are the same."""
    out = io.StringIO()
    configure("WARNING", "json", stream=out)
    log.info("quiet")
    log.warning("loud")
    assert [line["event"] for line in parsed(out)] == ["loud"]


def test_other_libraries_come_the_same_way() -> None:
    """Standard logging is formatted alike; chatty libraries only when they have something to say."""
    out = io.StringIO()
    configure("debug", "json", stream=out)
    logging.getLogger("confluent").info("broker %s is down", "b1")
    logging.getLogger("urllib3.connectionpool").debug("Starting new HTTP connection")
    logging.getLogger("urllib3.connectionpool").warning("retrying")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    told = [(line["logger"], line["event"]) for line in parsed(out)]
    assert told == [("confluent", "broker b1 is down"), ("urllib3.connectionpool", "retrying")]


def test_a_warning_of_python_is_a_log_line() -> None:
    """A warning printed raw would be no JSON."""
    out = io.StringIO()
    with warnings.catch_warnings():
        configure("info", "json", stream=out)
        warnings.simplefilter("always")
        warnings.warn("this is old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    [line] = parsed(out)
    assert (line["logger"], line["level"]) == ("py.warnings", "warning")
    assert "this is old" in str(line["event"])


def test_quiet_libraries_are_not_louder_than_asked_for() -> None:
    """At level error, urllib3's warnings are left out too."""
    out = io.StringIO()
    configure("error", "json", stream=out)
    logging.getLogger("urllib3.connectionpool").warning("retrying")
    assert not out.getvalue()


def test_an_exception_is_told_with_its_traceback() -> None:
    """In JSON as one string, for our own logger and for the standard one."""
    out = io.StringIO()
    configure("info", "json", stream=out)
    try:
        failing("broken")
    except ValueError:
        log.exception("worker ended")
        logging.getLogger("other").exception("other ended")
    for line in parsed(out):
        assert line["level"] == "error"
        assert "ValueError: broken" in str(line["exception"])


HOSTILE = "a\x1b[2J\x07\r\nb\x9b1A\u202e\u2028\x00\ud800"


def test_nothing_hostile_reaches_the_terminal() -> None:
    """Control characters, line breaks, bidi overrides and surrogates are escaped, wherever they are."""
    out = io.StringIO()
    configure("info", "console", stream=out)
    log.info(HOSTILE, session=HOSTILE, nested={HOSTILE: [HOSTILE]}, raw=HOSTILE.encode("utf-8", "surrogatepass"))
    logging.getLogger(HOSTILE).info("%s", HOSTILE)
    text = out.getvalue()
    assert text.count("\n") == 2
    assert text.replace("\n", "").isprintable()
    assert r"\x1b[2J" in text


def test_the_text_of_an_exception_cannot_pretend_to_be_a_log_line() -> None:
    """Each of its lines is indented, and escaped."""
    out = io.StringIO()
    configure("info", "console", stream=out)
    try:
        failing("x\n2026-01-01T00:00:00.000Z info     all is well\x1b[1A")
    except ValueError:
        log.exception("worker ended")
    first, *rest = out.getvalue().splitlines()
    assert "worker ended" in first
    assert all(line.startswith("    ") for line in rest)
    assert all(line.isprintable() for line in rest)


def test_a_console_line_is_readable() -> None:
    """Values that need it are quoted, others are not; no colour without a terminal."""
    out = io.StringIO()
    configure("info", "console", stream=out)
    log.warning("cannot connect", server="local", error="no route", wait=1.5, empty="", none=None)
    line = out.getvalue().rstrip("\n")
    assert line[24:] == (
        " warning  cannot connect server=local error='no route' wait=1.5 empty='' none=None [bridge.test]"
    )


def test_json_holds_any_text_in_ascii() -> None:
    """What a server sent can be read back as it was, and the line is one line."""
    out = io.StringIO()
    configure("info", "json", stream=out)
    log.info("x", session=HOSTILE)
    assert out.getvalue().isascii()
    assert parsed(out)[0]["session"] == HOSTILE


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_known_secret_is_masked_wherever_it_is(log_format: logs.LogFormat) -> None:
    """In the message, in a value, nested, in a key, in an object's repr, in a URL, in a traceback, in bytes."""
    secret = "s3cr\"e't\\/é"
    out = io.StringIO()
    configure("info", log_format, secrets=[secret, "hunter2", "hunter2222"], stream=out)
    try:
        failing(f"bad header {secret}")
    except ValueError as error:
        log.exception(
            "with " + secret,  # noqa: G003 - a caller who does it wrong
            plain=secret,
            nested=[{secret: (secret,)}],
            error=error,
            path=Path("/run") / "hunter2",
            url="http://x/?t=s3cr%22e%27t%5C%2F%C3%A9",
            raw=b"hunter2",
            longer="hunter2222!",
        )
    logging.getLogger("other").warning("and %s", secret)
    text = out.getvalue()
    assert MASK in text
    for part in ("s3cr", "hunter2", "2222"):
        assert part not in text


def test_masking_leaves_json_valid() -> None:
    """A secret that is also a word of JSON does not break the line, and a number is not masked."""
    out = io.StringIO()
    configure("info", "json", secrets=["true", "level", "8090", "x"], stream=out)
    log.info("text", flag=True, port=8090, word="true text")
    [line] = parsed(out)
    assert (line["flag"], line["port"], line["word"]) == (True, 8090, f"{MASK} text")


def test_a_value_that_contains_itself_has_an_end() -> None:
    """Logging it costs a line, not the daemon."""
    out = io.StringIO()
    configure("info", "json", stream=out)
    endless: list[object] = [1]
    endless.append(endless)
    log.info("x", value=endless)
    assert "..." in out.getvalue()
    assert parsed(out)[0]["event"] == "x"


def test_numbers_that_json_lacks_are_written_as_text() -> None:
    """Infinity and not-a-number do not make a line that nobody can read."""
    out = io.StringIO()
    configure("info", "json", stream=out)
    log.info("x", age=float("inf"))
    assert parsed(out)[0]["age"] == "inf"


def test_a_closed_stream_raises_nothing() -> None:
    """A daemon goes on without its stderr."""
    out = io.StringIO()
    configure("info", stream=out)
    out.close()
    log.info("lost")
    logging.getLogger("other").error("lost too")
    configure("info", stream=out)
    log.info("lost")


def test_a_broken_pipe_raises_nothing() -> None:
    """A reader of stderr that went away does not take the daemon with it."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", buffering=1)
    configure("info", "json", stream=stream)
    log.info("lost")
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_no_stderr_at_all_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has none when the descriptor was closed before its start."""
    monkeypatch.setattr("sys.stderr", None)
    configure("info")
    log.info("lost")


def test_a_value_that_cannot_be_written_loses_its_line_and_nothing_else() -> None:
    """It is said that a line was lost, the caller goes on."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    out = io.StringIO()
    configure("info", "json", stream=out)
    log.info("x", value=Broken())
    log.info("next")
    lost, following = parsed(out)
    assert (lost["event"], lost["why"]) == ("a log line was lost", "RuntimeError")
    assert following["event"] == "next"


@pytest.mark.parametrize(("no_color", "coloured"), [(False, True), (True, False)])
def test_a_terminal_gets_the_console_in_colour(
    monkeypatch: pytest.MonkeyPatch,
    no_color: bool,  # noqa: FBT001
    coloured: bool,  # noqa: FBT001
) -> None:
    """Without a format a terminal chooses console; NO_COLOR is heard."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        configure("info", stream=terminal)
        log.info("hello", session="\x1b[2J")
        text = os.read(ours, 4096).decode()
    os.close(ours)
    assert "hello" in text
    assert ("\x1b[" in text) is coloured
    assert "\x1b[2J" not in text


def test_without_a_terminal_the_format_is_json() -> None:
    """A collector of logs gets objects unless told otherwise."""
    out = io.StringIO()
    configure("info", stream=out)
    log.info("hello")
    assert parsed(out)[0]["event"] == "hello"


def test_a_second_call_replaces_the_first() -> None:
    """No line comes twice."""
    first, second = io.StringIO(), io.StringIO()
    configure("info", "json", stream=first)
    log.info("one")
    configure("info", "json", stream=second)
    log.info("two")
    assert [line["event"] for line in parsed(first)] == ["one"]
    assert [line["event"] for line in parsed(second)] == ["two"]
