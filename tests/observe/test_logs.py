"""Log lines: their format, and what they never contain."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import re
import warnings
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.stdlib import get_logger

from bridge.observe import logs
from bridge.observe.log_writer import LINES, dropped_lines, flush_logs
from bridge.observe.logs import MASK, configure
from tests.support.log_setup import restored_logging
from tests.support.waiting import let_pass

log = get_logger("bridge.test")


def failing(text: str) -> None:
    raise ValueError(text)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    with restored_logging():
        yield


def logged(
    level: str = "info", log_format: logs.LogFormat | None = "json", secrets: Collection[str] = ()
) -> io.StringIO:
    """The stream of a configured log."""
    out = io.StringIO()
    configure(level, log_format, secrets, stream=out)
    return out


def written(stream: io.StringIO) -> str:
    flush_logs()
    return stream.getvalue()


def parsed(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in written(stream).splitlines()]


def test_a_json_line_is_one_object_with_its_own_keys_first() -> None:
    """Timestamp in RFC 3339 with milliseconds, level, event and logger, then the caller's keys."""
    out = logged()
    log.info("a record was refused", server="local", session="42", attempt=3)
    [line] = parsed(out)
    assert list(line) == ["timestamp", "level", "event", "logger", "server", "session", "attempt"]
    assert (line["level"], line["event"], line["logger"]) == ("info", "a record was refused", "bridge.test")
    assert line["attempt"] == 3
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line["timestamp"]))
    age = datetime.now(UTC) - datetime.fromisoformat(str(line["timestamp"]))
    assert abs(age.total_seconds()) < 60


def test_a_callers_key_does_not_replace_a_key_of_the_line() -> None:
    """A level from a server's data is not the level of the line."""
    out = logged()
    log.info("odd", level="fatal", timestamp="never", logger="you")
    [line] = parsed(out)
    assert (line["level"], line["logger"]) == ("info", "bridge.test")
    assert line["timestamp"] != "never"


def test_lines_below_the_level_are_not_written() -> None:
    """Upper and lower case are the same."""
    out = logged("WARNING")
    log.info("quiet")
    log.warning("loud")
    assert [line["event"] for line in parsed(out)] == ["loud"]


def test_other_libraries_are_logged_in_the_same_format() -> None:
    """Debug lines of libraries that log too much are left out."""
    out = logged("debug")
    logging.getLogger("confluent").info("broker %s is down", "b1")
    logging.getLogger("urllib3.connectionpool").debug("Starting new HTTP connection")
    logging.getLogger("urllib3.connectionpool").warning("retrying")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    lines = [(line["logger"], line["event"]) for line in parsed(out)]
    assert lines == [("confluent", "broker b1 is down"), ("urllib3.connectionpool", "retrying")]


def test_a_warning_of_python_is_a_log_line() -> None:
    """A warning that is printed as it is would not be JSON."""
    out = io.StringIO()
    with warnings.catch_warnings():
        configure("info", "json", stream=out)
        warnings.simplefilter("always")
        warnings.warn("this is old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    [line] = parsed(out)
    assert (line["logger"], line["level"]) == ("py.warnings", "warning")
    assert "this is old" in str(line["event"])


def test_libraries_do_not_log_below_the_chosen_level() -> None:
    """At level error, urllib3's warnings are left out too."""
    out = logged("error")
    logging.getLogger("urllib3.connectionpool").warning("retrying")
    assert not written(out)


def test_an_exception_is_logged_with_its_traceback() -> None:
    """In JSON as one string, for structlog and for standard logging."""
    out = logged()
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
    out = logged("info", "console")
    log.info(HOSTILE, session=HOSTILE, nested={HOSTILE: [HOSTILE]}, raw=HOSTILE.encode("utf-8", "surrogatepass"))
    logging.getLogger(HOSTILE).info("%s", HOSTILE)
    text = written(out)
    assert text.count("\n") == 2
    assert text.replace("\n", "").isprintable()
    assert r"\x1b[2J" in text


def test_the_text_of_an_exception_cannot_pretend_to_be_a_log_line() -> None:
    """Each of its lines is indented and escaped; so is a ``stack`` of a caller."""
    out = logged("info", "console")
    try:
        failing("x\n2026-01-01T00:00:00.000Z info     all is well\x1b[1A")
    except ValueError:
        log.exception("worker ended", stack="y\n2026-01-01T00:00:00.000Z info     all is well")
    first, *rest = written(out).splitlines()
    assert "worker ended" in first
    assert all(line.startswith("    ") for line in rest if line.strip("="))  # ConsoleRenderer draws a rule between them
    assert all(line.isprintable() for line in rest)


def test_a_console_line_is_readable() -> None:
    """Values with blanks are quoted; there are no colours without a terminal."""
    out = logged("info", "console")
    log.warning("cannot connect", server="local", error="no route", wait=1.5, empty="", none=None)
    line = written(out).rstrip("\n")
    assert line[24:] == (
        " [warning  ] cannot connect [bridge.test] server=local error='no route' wait=1.5 empty= none=None"
    )


def test_json_contains_any_text_as_ascii() -> None:
    """A server's text can be read back unchanged, and each line is one line."""
    out = logged()
    log.info("x", session=HOSTILE)
    assert written(out).isascii()
    assert parsed(out)[0]["session"] == HOSTILE


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_known_secret_is_masked_everywhere(log_format: logs.LogFormat) -> None:
    """In the message, in a value, nested, in a key, in an object's repr, in a URL, in a traceback, in bytes."""
    secret = "s3cr\"e't\\/é"
    out = logged("info", log_format, [secret, "hunter2", "hunter2222"])
    try:
        failing(f"bad header {secret}")
    except ValueError as error:
        log.exception(
            "with " + secret,  # noqa: G003 - a caller's mistake
            plain=secret,
            nested=[{secret: (secret,)}],
            error=error,
            path=Path("/run") / "hunter2",
            url="http://x/?t=s3cr%22e%27t%5C%2F%C3%A9",
            raw=b"hunter2",
            longer="hunter2222!",
        )
    logging.getLogger("other").warning("and %s", secret)
    text = written(out)
    assert MASK in text
    for part in ("s3cr", "hunter2", "2222"):
        assert part not in text


def test_masking_leaves_json_valid() -> None:
    """A secret that is also a word of JSON does not break the line, and a number is not masked."""
    out = logged(secrets=["true", "level", "8090", "x"])
    log.info("text", flag=True, port=8090, word="true text")
    [line] = parsed(out)
    assert (line["flag"], line["port"], line["word"]) == (True, 8090, f"{MASK} text")


def test_a_value_that_contains_itself_is_cut() -> None:
    """Logging it must not end the daemon."""
    out = logged()
    endless: list[object] = [1]
    endless.append(endless)
    log.info("x", value=endless)
    assert "..." in written(out)
    assert parsed(out)[0]["event"] == "x"


def test_numbers_that_json_does_not_have_are_written_as_text() -> None:
    """A line with ``Infinity`` or ``NaN`` would not be JSON."""
    out = logged()
    log.info("x", age=float("inf"))
    assert parsed(out)[0]["age"] == "inf"


def test_a_closed_stream_raises_nothing() -> None:
    """A daemon continues without its stderr."""
    out = logged("info", None)
    out.close()
    log.info("lost")
    logging.getLogger("other").error("lost too")
    configure("info", stream=out)
    log.info("lost")


def test_a_broken_pipe_raises_nothing() -> None:
    """The reader of stderr may end before the daemon."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", buffering=1)
    configure("info", "json", stream=stream)
    log.info("lost")
    flush_logs()
    assert dropped_lines() == 1
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_no_stderr_at_all_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has none if the descriptor was closed before its start."""
    monkeypatch.setattr("sys.stderr", None)
    configure("info")
    log.info("lost")


def test_a_value_without_a_text_loses_only_its_own_line() -> None:
    """The log says that a line was lost, and the caller continues."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    out = logged()
    log.info("x", value=Broken())
    log.info("next")
    lost, following = parsed(out)
    assert (lost["event"], lost["why"]) == ("a log line was lost", "RuntimeError")
    assert following["event"] == "next"


@pytest.mark.parametrize(("no_color", "coloured"), [(False, True), (True, False)])
def test_a_terminal_gets_the_console_format_in_colour(
    monkeypatch: pytest.MonkeyPatch,
    no_color: bool,  # noqa: FBT001
    coloured: bool,  # noqa: FBT001
) -> None:
    """Without a configured format; NO_COLOR is respected."""
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
    """A log collector gets objects by default."""
    out = logged("info", None)
    log.info("hello")
    assert parsed(out)[0]["event"] == "hello"


def test_a_second_call_replaces_the_first() -> None:
    """No line is written twice."""
    first, second = io.StringIO(), io.StringIO()
    configure("info", "json", stream=first)
    log.info("one")
    configure("info", "json", stream=second)
    log.info("two")
    assert [line["event"] for line in parsed(first)] == ["one"]
    assert [line["event"] for line in parsed(second)] == ["two"]


def test_a_second_call_waits_for_the_lines_of_the_first() -> None:
    """Their thread may not have run yet, and the process may end before it does."""

    class SlowStream(io.StringIO):
        def write(self, text: str) -> int:
            let_pass(0.1)  # the stream takes no line for a while
            return super().write(text)

    first = SlowStream()
    configure("info", "json", stream=first)
    log.info("one")
    configure("info", "json", stream=io.StringIO())
    assert [line["event"] for line in parsed(first)] == ["one"]


def test_written_lines_are_counted_by_level() -> None:
    """Those below the level are not written."""
    before = LINES.snapshot()
    configure("info", "json", stream=io.StringIO())
    log.debug("not written")
    log.info("one")
    log.error("two")
    logging.getLogger("bridge.test").error("three")
    now = LINES.snapshot()
    assert {level: now.get(level, 0) - before.get(level, 0) for level in ("debug", "info", "error")} == {
        "debug": 0, "info": 1, "error": 2,
    }  # fmt: skip
