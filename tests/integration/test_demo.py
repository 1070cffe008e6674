"""``mix-bridge demo`` as people run it: a process of its own, in a pipe and in a terminal."""

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
from typing import Self

import pytest
from rich.cells import cell_len

from bridge.clock import monotonic
from tests.support.process import MIX_BRIDGE, environment
from tests.support.waiting import wait_until

FIRST_OUTPUT = 5.0
PATIENCE = 60.0


def numbers(text: str) -> dict[str, int]:
    """The figures of the summary."""
    found = re.findall(r"^  (sent|arrived|lost|repeated) +(\d+)\b", text, re.MULTILINE)
    return {name: int(number) for name, number in found}


def all_arrived(text: str) -> bool:
    told = numbers(text)
    return told["sent"] == told["arrived"] > 0 and told["lost"] == told["repeated"] == 0


def twice(process: subprocess.Popen[bytes]) -> None:
    """Both signals before it can act on the first."""
    for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
        process.send_signal(number)


class Run:
    """A demo that writes into a pipe."""

    def __init__(self, *arguments: str, **env: str) -> None:
        self.began = monotonic()
        self.process = subprocess.Popen(
            [*MIX_BRIDGE, "demo", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment({}) | env,
        )

    def line_with(self, text: str) -> str:
        """The next line that holds this text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text.encode() in line:
                return line.decode()
        raise AssertionError(f"it ended without {text!r}: {self.process.communicate()}")

    def end(self) -> tuple[int, str, str]:
        """Exit code, the rest of its output, its errors."""
        out, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out.decode(), errors.decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def test_chaos_is_seen_and_the_count_stays_right():
    """Faults of the server are told as they happen; every event arrives all the same, none of them twice."""
    with Run("--chaos", "--seed", "3", "--for", "12s") as demo:
        code, out, errors = demo.end()
    assert (code, errors) == (0, "")
    told = re.findall(r"— on the Mix server: (.+)", out)
    assert len(set(told)) >= 4, told
    assert any("cut" in each or "refused" in each or "restarts" in each for each in told), told
    assert re.search(r"^— \d+ faults of the Mix server", out, re.MULTILINE)
    assert all_arrived(out)


def test_the_first_events_are_seen_within_five_seconds():
    """The quickest of five tries: it is the demo that is measured, and not the tests that run beside it."""
    tries: list[float] = []
    while not tries or (min(tries) >= FIRST_OUTPUT and len(tries) < 5):
        with Run() as demo:
            demo.line_with("user_message_created")
            tries.append(monotonic() - demo.began)
    assert min(tries) < FIRST_OUTPUT, tries


def test_it_ends_by_itself_and_nothing_is_lost():
    """Sessions come and go meanwhile, and the figures still come out right."""
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


def test_a_second_signal_ends_it_at_once():
    with Run() as demo:
        demo.line_with("user_message_created")
        twice(demo.process)
        code, out, errors = demo.end()
    assert (code, errors) == (75, "ended immediately by a second signal: nothing was compared\n")
    assert not numbers(out)


def test_the_environment_is_not_read():
    """Neither wrong settings nor right ones nor a proxy nor a configuration file."""
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
    """So that nobody believes they count."""
    done = subprocess.run(
        [*MIX_BRIDGE, "--log-level", "debug", "demo", "--for", "1s"],
        env=environment({}),
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 2


@pytest.mark.parametrize("wrong", [["--for", "soon"], ["--for", "0"], ["--sessions", "0"]])
def test_wrong_options_are_refused(wrong):
    with Run(*wrong) as demo:
        assert demo.end()[0] == 2


def test_json_is_one_document():
    """What people read goes to stderr then."""
    with Run("--for", "1s", "--sessions", "2", "--seed", "5", "--json") as demo:
        code, out, errors = demo.end()
    told = json.loads(out)
    assert code == 0
    assert told["sent"] == told["arrived"] > 0
    assert told["lost"] == told["repeated"] == told["altered"] == told["out_of_order"] == 0
    assert set(told["sessions"]) == {"amber", "birch"}
    assert all_arrived(errors)


def test_a_reader_that_goes_away_ends_it():
    """``mix-bridge demo | head``: no traceback, no process left behind."""
    with Run() as demo:
        demo.line_with("user_message_created")
        assert demo.process.stdout is not None
        demo.process.stdout.close()
        wait_until(lambda: demo.process.poll() is not None, 20, "the end of the demo")
        assert demo.process.stderr is not None
        assert demo.process.stderr.read() == b""
        assert demo.process.returncode == 0


def test_many_quick_sessions_are_all_compared():
    """More than a terminal or a person can follow."""
    with Run("--for", "1s", "--sessions", "30", "--rate", "50") as demo:
        code, out, _ = demo.end()
    assert code == 0
    assert all_arrived(out)


# --- on a terminal


class Terminal:
    """A pseudo-terminal with a demo in it, of ``columns`` by 24."""

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
        """Take what it has written; True while it runs."""
        ended = self.process.poll() is not None
        while select.select([self._ours], [], [], 0.02)[0]:
            self.text += os.read(self._ours, 65536).decode(errors="replace")
        return not ended

    def press(self, key: bytes) -> None:
        os.write(self._ours, key)

    def end(self) -> int:
        """Its exit code, once it has ended by itself."""
        wait_until(lambda: not self.read(), PATIENCE, "the end of the demo")
        assert termios.tcgetattr(self._theirs) == self._before, "the terminal is as it was"
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


def test_on_a_terminal_it_is_in_colour_with_a_status_line_that_goes_away():
    with Terminal(["--for", "2s"]) as terminal:
        assert terminal.end() == 0
    assert COLOUR.search(terminal.text)
    assert "events/s │" in terminal.text
    assert terminal.text.rindex(SHOW_CURSOR) > terminal.text.rindex(HIDE_CURSOR)
    last_status = terminal.text.rindex("events/s")
    assert "\x1b[2K" in terminal.text[last_status:], "the status line is taken away"
    assert all_arrived(plain(terminal.text[last_status:]))


@pytest.mark.parametrize("columns", [40, 80])
def test_no_line_of_the_flow_is_wider_than_the_terminal(columns):
    """A line that wraps would tear the status line."""
    with Terminal(["--for", "1s"], columns) as terminal:
        assert terminal.end() == 0
    text = terminal.text
    flow = plain(text[text.index("user_message_created") :]) if columns > 40 else plain(text[text.rindex("bridge ") :])
    flow = flow[: flow.index("sent ")]
    lines = [line for line in flow.split("\n") if "events/s" not in line]
    assert max(map(cell_len, lines)) <= columns


def test_ctrl_c_ends_it_and_gives_the_terminal_back():
    with Terminal([]) as terminal:
        wait_until(lambda: terminal.read() and "user_message_created" in terminal.text, 20, "the first event")
        terminal.press(b"\x03")
        assert terminal.end() == 0
    assert all_arrived(plain(terminal.text))
    assert terminal.text.rindex(SHOW_CURSOR) > terminal.text.rindex(HIDE_CURSOR)


def test_an_end_at_once_gives_the_terminal_back_too():
    with Terminal([]) as terminal:
        wait_until(lambda: terminal.read() and "user_message_created" in terminal.text, 20, "the first event")
        twice(terminal.process)
        assert terminal.end() == 75
    assert terminal.text.rindex(SHOW_CURSOR) > terminal.text.rindex(HIDE_CURSOR)


@pytest.mark.parametrize(("arguments", "env"), [([], {"NO_COLOR": "1"}), (["--no-color"], {})])
def test_colours_can_be_declined(arguments, env):
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


def test_an_output_that_is_ascii_only_gets_escapes_not_an_error():
    with Run("--for", "1s", PYTHONIOENCODING="ascii") as demo:
        code, out, errors = demo.end()
    assert (code, errors) == (0, "")
    assert all_arrived(out)


def test_make_demo_hands_the_options_on():
    """The line people type first."""
    told = subprocess.run(
        ["make", "--dry-run", "demo", "ARGS=--for 10s"], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert "mix-bridge demo --for 10s" in told.stdout
