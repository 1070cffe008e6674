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
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest
from rich.cells import cell_len

from tests.support.process import MIX_BRIDGE, environment
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


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def twice(process: subprocess.Popen[bytes]) -> None:
    """Send both signals before the process can handle the first."""
    for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
        process.send_signal(number)


class Run:
    """A demo that writes into a pipe."""

    def __init__(self, *arguments: str, **env: str) -> None:
        self.process = subprocess.Popen(
            [*MIX_BRIDGE, "demo", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment({}) | env,
        )

    def line_with(self, text: str) -> str:
        """Return the next line that contains this text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text.encode() in line:
                return line.decode()
        raise AssertionError(f"it ended without {text!r}: {self.process.communicate()}")

    def end(self) -> tuple[int, str, str]:
        """Return the exit code, the rest of the output, and the errors."""
        out, errors = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, out.decode(), errors.decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def test_chaos_shows_its_faults_and_loses_no_event():
    with Run("--chaos", "--seed", "3", "--for", "12s") as demo:
        code, out, errors = demo.end()
    assert (code, errors) == (0, "")
    shown = re.findall(r"— on the Mix server: (.+)", out)
    assert len(set(shown)) >= 4, shown
    assert any("cut" in each or "refused" in each or "restarts" in each for each in shown), shown
    assert re.search(r"^— \d+ faults of the Mix server", out, re.MULTILINE)
    assert all_arrived(out)


def test_the_first_event_is_shown_quickly():
    """Measured in CPU seconds of the process, which do not depend on the other processes of the machine."""
    with Run() as demo:
        demo.line_with("user_message_created")
        assert cpu_seconds(demo.process.pid) < FIRST_EVENT


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


def test_the_environment_is_not_read():
    wrong = {
        "MIX_BRIDGE_KAFKA__BOOTSTRAP_SERVERS": "kafka.invalid:1",
        "MIX_BRIDGE_NAMESPACE": "not/allowed",
        "MIX_BRIDGE_UNKNOWN": "1",
        "MIX_BRIDGE_CONFIG": "/does/not/exist.toml",
        "CREDENTIALS_DIRECTORY": "/does/not/exist",
        "http_proxy": "http://proxy.invalid:1",
    }
    with Run("--for", "1s", **wrong) as demo:
        code, out, errors = demo.end()
    assert (code, errors) == (0, "")
    assert "mix.events" in out
    assert all_arrived(out)


def test_options_of_settings_are_refused():
    done = subprocess.run(
        [*MIX_BRIDGE, "--log-level", "debug", "demo", "--for", "1s"],
        env=environment({}),
        capture_output=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert done.returncode == 2


@pytest.mark.parametrize("wrong", [["--for", "soon"], ["--for", "0"], ["--sessions", "0"]])
def test_wrong_options_are_refused(wrong):
    with Run(*wrong) as demo:
        assert demo.end()[0] == 2


def test_json_is_one_document():
    """The text for people goes to stderr."""
    with Run("--for", "1s", "--sessions", "2", "--seed", "5", "--json") as demo:
        code, out, errors = demo.end()
    summary = json.loads(out)
    assert code == 0
    assert summary["sent"] == summary["arrived"] > 0
    assert summary["lost"] == summary["repeated"] == summary["altered"] == summary["out_of_order"] == 0
    assert set(summary["sessions"]) == {"amber", "birch"}
    assert all_arrived(errors)


def test_it_ends_when_its_reader_ends():
    """``mix-bridge demo | head``: no traceback, no process left behind."""
    with Run() as demo:
        demo.line_with("user_message_created")
        assert demo.process.stdout is not None
        demo.process.stdout.close()
        wait_until(lambda: demo.process.poll() is not None, 20, "the end of the demo")
        assert demo.process.stderr is not None
        assert demo.process.stderr.read() == b""
        assert demo.process.returncode == 0


def test_many_fast_sessions_are_all_compared():
    with Run("--for", "1s", "--sessions", "30", "--rate", "50") as demo:
        code, out, _ = demo.end()
    assert code == 0
    assert all_arrived(out)


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


def test_a_terminal_gets_colours_and_a_status_line_that_is_erased():
    with Terminal(["--for", "2s"]) as terminal:
        assert terminal.end() == 0
    assert COLOUR.search(terminal.text)
    assert "events/s │" in terminal.text
    assert terminal.text.rindex(SHOW_CURSOR) > terminal.text.rindex(HIDE_CURSOR)
    last_status = terminal.text.rindex("events/s")
    assert "\x1b[2K" in terminal.text[last_status:], "the status line must be erased"
    assert all_arrived(plain(terminal.text[last_status:]))


@pytest.mark.parametrize("columns", [40, 80])
def test_no_line_is_wider_than_the_terminal(columns):
    """A line that wraps would break the status line."""
    with Terminal(["--for", "1s"], columns) as terminal:
        assert terminal.end() == 0
    text = terminal.text
    flow = plain(text[text.index("user_message_created") :]) if columns > 40 else plain(text[text.rindex("bridge ") :])
    flow = flow[: flow.index("sent ")]
    lines = [line for line in flow.split("\n") if "events/s" not in line]
    assert max(map(cell_len, lines)) <= columns


def test_ctrl_c_ends_it_and_restores_the_terminal():
    with Terminal([]) as terminal:
        wait_until(lambda: terminal.read() and "user_message_created" in terminal.text, 20, "the first event")
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


@pytest.mark.parametrize(("arguments", "env"), [([], {"NO_COLOR": "1"}), (["--no-color"], {})])
def test_colours_can_be_disabled(arguments, env):
    """The status line stays."""
    with Terminal(["--for", "1s", *arguments], **env) as terminal:
        assert terminal.end() == 0
    assert not COLOUR.search(terminal.text)
    assert "events/s │" in terminal.text


def test_a_terminal_that_cannot_draw_gets_plain_lines():
    with Terminal(["--for", "1s"], TERM="dumb") as terminal:
        assert terminal.end() == 0
    assert "\x1b" not in terminal.text
    assert all_arrived(plain(terminal.text))


def test_an_ascii_output_gets_escapes_instead_of_an_error():
    with Run("--for", "1s", PYTHONIOENCODING="ascii") as demo:
        code, out, errors = demo.end()
    assert (code, errors) == (0, "")
    assert all_arrived(out)


def test_make_demo_passes_the_options():
    done = subprocess.run(
        ["make", "--dry-run", "demo", "ARGS=--for 10s"], capture_output=True, text=True, check=True, timeout=TIMEOUT
    )
    assert "mix-bridge demo --for 10s" in done.stdout
