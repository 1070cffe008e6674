"""``mix-bridge demo`` as a process of its own, in a pipe and in a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import tempfile
import termios
from collections.abc import Sequence
from typing import Self

import pytest
from rich.cells import cell_len

from tests.support.forked import Process
from tests.support.process import MIX_BRIDGE, command, environment
from tests.support.processes import start
from tests.support.usage import processor_time
from tests.support.waiting import TIMEOUT, wait_until

FIRST_EVENT = 2.5
"""CPU seconds until the first event; 0.7 when this was written. Nothing else delays it by more than half a second."""


def numbers(text: str) -> dict[str, int]:
    """The figures of the summary."""
    found = re.findall(r"^  (sent|arrived|lost|repeated) +(\d+)\b", text, re.MULTILINE)
    return {name: int(number) for name, number in found}


def all_arrived(text: str) -> bool:
    figures = numbers(text)
    return figures["sent"] == figures["arrived"] > 0 and figures["lost"] == figures["repeated"] == 0


def twice(process: Process) -> None:
    """Send both signals before the process can handle the first."""
    for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
        process.send_signal(number)


class Run:
    """A demo that writes into a pipe."""

    def __init__(self, *arguments: str, **env: str) -> None:
        ours, theirs = os.pipe()
        self.output, self._errors = os.fdopen(ours, "rb"), tempfile.TemporaryFile()  # noqa: SIM115 - closed at the exit
        with os.fdopen(theirs, "wb") as written:
            self.process = start([*MIX_BRIDGE, "demo", *arguments], written, self._errors, environment({}) | env, None)

    def line_with(self, text: str) -> str:
        """Return the next line that contains this text."""
        for line in self.output:
            if text.encode() in line:
                return line.decode()
        raise AssertionError(f"it ended without {text!r}: {self.errors()}")

    def errors(self) -> str:
        """Return what it wrote to stderr."""
        self._errors.seek(0)
        return self._errors.read().decode()

    def end(self) -> tuple[int, str, str]:
        """Return the exit code, the rest of the output, and the errors."""
        out = self.output.read().decode()
        return self.process.wait(TIMEOUT), out, self.errors()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.output.close()
        self._errors.close()


def test_chaos_shows_its_faults_and_loses_no_event():
    with Run("--chaos", "--seed", "3", "--for", "12s") as demo:
        code, out, errors = demo.end()
    assert (code, errors) == (0, "")
    shown = re.findall(r"— on the Mix server: (.+)", out)
    assert len(set(shown)) >= 4, shown
    assert any("cut" in each or "refused" in each or "restarts" in each for each in shown), shown
    assert re.search(r"^— \d+ faults of the Mix server", out, re.MULTILINE)
    assert all_arrived(out)


def test_it_ends_after_its_time_and_nothing_is_lost():
    """Sessions are created and deleted during the demo."""
    with Run("--for", "8s") as demo:
        demo.line_with("mix-bridge demo")
        demo.line_with("user_message_created")
        code, out, errors = demo.end()
    assert (code, errors) == (0, "")
    assert all_arrived(out)
    assert "ember     " in out
    assert "created during the demo" in out
    assert "deleted during the demo" in out
    assert re.search(r"— 00:0\d │ \d+ events/s │ \d+ events │ lag \d+ │ \d sessions", out)
    assert "nothing lost" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_its_summary(number):
    with Run() as demo:
        demo.line_with("user_message_created")
        demo.process.send_signal(number)
        code, out, errors = demo.end()
    assert (code, errors) == (0, "")
    assert all_arrived(out)


def test_a_signal_before_the_first_event_ends_it_too():
    with Run() as demo:
        demo.line_with("mix-bridge demo")
        demo.process.send_signal(signal.SIGINT)
        code, out, errors = demo.end()
    assert (code, errors) == (0, "")
    assert numbers(out)["lost"] == 0


def test_a_second_signal_ends_it_immediately():
    with Run() as demo:
        demo.line_with("user_message_created")
        twice(demo.process)
        code, out, errors = demo.end()
    assert (code, errors) == (75, "ended immediately by a second signal: nothing was compared\n")
    assert not numbers(out)


def test_the_environment_is_not_read_and_an_ascii_output_gets_escapes_instead_of_an_error():
    wrong = {
        "MIX_BRIDGE_KAFKA__BOOTSTRAP_SERVERS": "kafka.invalid:1",
        "MIX_BRIDGE_NAMESPACE": "not/allowed",
        "MIX_BRIDGE_UNKNOWN": "1",
        "MIX_BRIDGE_CONFIG": "/does/not/exist.toml",
        "CREDENTIALS_DIRECTORY": "/does/not/exist",
        "http_proxy": "http://proxy.invalid:1",
        "PYTHONIOENCODING": "ascii",
    }
    with Run("--for", "1s", **wrong) as demo:
        code, out, errors = demo.end()
    assert (code, errors) == (0, "")
    assert "mix.events" in out
    assert all_arrived(out)


@pytest.mark.parametrize(
    "wrong",
    [
        ["demo", "--for", "soon"],
        ["demo", "--for", "0"],
        ["demo", "--sessions", "0"],
        ["--log-level", "debug", "demo", "--for", "1s"],
    ],
)
def test_wrong_options_and_those_of_settings_are_refused(wrong):
    assert command(wrong).returncode == 2


def test_many_fast_sessions_are_all_compared_and_json_is_one_document():
    """The text for people goes to stderr."""
    with Run("--for", "1s", "--sessions", "30", "--rate", "50", "--seed", "5", "--json") as demo:
        code, out, errors = demo.end()
    summary = json.loads(out)
    assert code == 0
    assert summary["sent"] == summary["arrived"] > 0
    assert summary["lost"] == summary["repeated"] == summary["altered"] == summary["out_of_order"] == 0
    assert len(summary["sessions"]) == 30
    assert all_arrived(errors)


def test_it_ends_when_its_reader_ends():
    """``mix-bridge demo | head``: no traceback, no process left behind."""
    with Run() as demo:
        demo.line_with("user_message_created")
        demo.output.close()
        assert demo.process.wait(TIMEOUT) == 0
        assert demo.errors() == ""


# --- on a terminal


class Terminal:
    """A demo in a pseudo-terminal of ``columns`` by 24."""

    def __init__(self, arguments: Sequence[str], columns: int = 80, **env: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.text = ""
        self.process = subprocess.Popen(
            [*MIX_BRIDGE, "demo", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment({}) | {"TERM": "xterm-256color"} | env,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - so that Ctrl-C is the terminal's own
        )

    def read(self) -> bool:
        """Read its output so far. Return whether it runs."""
        ended = self.process.poll() is not None
        while select.select([self._ours], [], [], 0.02)[0]:
            self.text += os.read(self._ours, 65536).decode(errors="replace")
        return not ended

    def press(self, key: bytes) -> None:
        os.write(self._ours, key)

    def end(self) -> int:
        """Wait for its end and return its exit code."""
        wait_until(lambda: not self.read(), what="the end of the demo")
        assert termios.tcgetattr(self._theirs) == self._before, "the terminal must be restored"
        return self.process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


def plain(text: str) -> str:
    return ESCAPE.sub("", text).replace("\r", "")


def widest(text: str, first: str) -> int:
    """Return the width of the widest line of the flow, without the status line."""
    flow = plain(text[text.index(first) :])
    lines = [line for line in flow[: flow.index("sent ")].split("\n") if "events/s" not in line]
    return max(map(cell_len, lines))


def test_a_terminal_gets_colours_and_a_status_line_that_is_erased():
    """No line is wider: a line that wraps would break the status line."""
    with Terminal(["--for", "2s"]) as terminal:
        assert terminal.end() == 0
    assert widest(terminal.text, "user_message_created") <= 80
    assert COLOUR.search(terminal.text)
    assert "events/s │" in terminal.text
    assert terminal.text.rindex(SHOW_CURSOR) > terminal.text.rindex(HIDE_CURSOR)
    last_status = terminal.text.rindex("events/s")
    assert "\x1b[2K" in terminal.text[last_status:], "the status line must be erased"
    assert all_arrived(plain(terminal.text[last_status:]))


def test_the_first_event_is_shown_quickly_and_ctrl_c_restores_the_terminal():
    """Measured in CPU seconds of the process, which do not depend on the other processes of the machine."""
    with Terminal([]) as terminal:
        wait_until(lambda: terminal.read() and "user_message_created" in terminal.text, 20, "the first event")
        assert processor_time(terminal.process.pid) < FIRST_EVENT
        terminal.press(b"\x03")
        assert terminal.end() == 0
    assert all_arrived(plain(terminal.text))
    assert terminal.text.rindex(SHOW_CURSOR) > terminal.text.rindex(HIDE_CURSOR)


def test_an_immediate_end_restores_the_terminal_too():
    with Terminal([]) as terminal:
        wait_until(lambda: terminal.read() and "user_message_created" in terminal.text, 20, "the first event")
        twice(terminal.process)
        assert terminal.end() == 75
    assert terminal.text.rindex(SHOW_CURSOR) > terminal.text.rindex(HIDE_CURSOR)


def test_colours_can_be_disabled_by_the_environment():
    """The status line stays."""
    with Terminal(["--for", "1s"], NO_COLOR="1") as terminal:
        assert terminal.end() == 0
    assert not COLOUR.search(terminal.text)
    assert "events/s │" in terminal.text


def test_colours_can_be_disabled_by_an_option_and_a_narrow_terminal_gets_no_wider_lines():
    with Terminal(["--for", "1s", "--no-color"], 40) as terminal:
        assert terminal.end() == 0
    assert not COLOUR.search(terminal.text)
    assert "events/s" in terminal.text
    assert widest(terminal.text, terminal.text[terminal.text.rindex("bridge ") :]) <= 40


def test_a_terminal_that_cannot_draw_gets_plain_lines():
    with Terminal(["--for", "1s"], TERM="dumb") as terminal:
        assert terminal.end() == 0
    assert "\x1b" not in terminal.text
    assert all_arrived(plain(terminal.text))


def test_make_demo_passes_the_options():
    done = subprocess.run(
        ["make", "--dry-run", "demo", "ARGS=--for 10s"], capture_output=True, text=True, check=True, timeout=TIMEOUT
    )
    assert "mix-bridge demo --for 10s" in done.stdout
