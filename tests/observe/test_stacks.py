"""The stacks of all threads."""

from __future__ import annotations

import subprocess
import sys
import threading

from bridge.observe.stacks import all_stacks
from tests.support.waiting import TIMEOUT


def test_each_thread_is_listed_by_its_name() -> None:
    """With the function in which it waits."""
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait, args=(TIMEOUT,), name="session local/abc")
    thread.start()
    try:
        text = all_stacks()
    finally:
        ended.set()
        thread.join()
    stack = text.partition("Thread session local/abc:\n")[2].partition("\n\n")[0]
    assert "in wait" in stack
    assert "Thread MainThread" in text


MANY = """
import os, signal, threading
from bridge.observe.stacks import write_on_signal
write_on_signal()
ended = threading.Event()
threads = [threading.Thread(target=ended.wait, name=f"worker-{n}-of-many") for n in range(150)]
for each in threads: each.start()
os.kill(os.getpid(), signal.SIGUSR1)
ended.set()
"""


def test_a_signal_writes_more_threads_than_the_interpreter_shows() -> None:
    """The interpreter stops after a hundred."""
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, timeout=TIMEOUT, check=True)
    assert all(f"Thread worker-{number}-of-many:" in done.stderr for number in range(150))


UNREAD = """
import os, signal, sys
from bridge.observe.stacks import write_on_signal
write_on_signal()
os.set_blocking(2, False)
try:
    while True:
        os.write(2, b"x" * 4096)
except BlockingIOError:
    os.set_blocking(2, True)
os.kill(os.getpid(), signal.SIGUSR1)
sys.stdout.write("continued")
"""


def test_a_signal_does_not_wait_for_a_reader_of_stderr() -> None:
    """A full pipe: the stacks are lost, and the process continues."""
    command = [sys.executable, "-c", UNREAD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.wait(TIMEOUT) == 0
        finally:
            process.kill()
        assert process.stdout is not None
        assert process.stdout.read() == b"continued"
