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


STUCK = """
import ctypes, os, signal, threading
from bridge.observe.stacks import write_on_signal
write_on_signal()
ended = threading.Event()
threads = [threading.Thread(target=ended.wait, name=f"worker-{n}-of-many", daemon=True) for n in range(150)]
for each in threads: each.start()
os.kill(os.getpid(), signal.SIGUSR1)
mutex = ctypes.create_string_buffer(256)
while True: ctypes.CDLL(None).pthread_mutex_lock(mutex)
"""


def test_a_signal_writes_all_threads_while_the_main_thread_is_stuck() -> None:
    """In a mutex of a C library, where no handler of Python runs."""
    with subprocess.Popen([sys.executable, "-c", STUCK], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            missing = {f"Thread worker-{number}-of-many:" for number in range(150)} | {"Thread MainThread:"}
            while missing:
                line = process.stderr.readline()
                assert line
                missing.discard(line.strip())
        finally:
            process.kill()


RUNNING = """
import os, signal, sys, threading
from bridge.observe.stacks import write_on_signal
handled = threading.Event()
write_on_signal(handled.set)
def call(depth):
    if depth: call(depth - 1)
def run():
    while True: call(300)
def send():
    for _ in range(20):
        os.kill(os.getpid(), signal.SIGUSR1)
        call(300)
        handled.wait()
        handled.clear()
for _ in range(4): threading.Thread(target=run, daemon=True).start()
sender = threading.Thread(target=send)
sender.start()
while sender.is_alive(): sender.join(0.001)
sys.stdout.write("continued")
"""


def test_a_signal_is_harmless_while_the_threads_run() -> None:
    """Their frames change all the time: a dump without the interpreter lock ended the process with SIGSEGV."""
    command = [sys.executable, "-c", RUNNING]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=TIMEOUT, check=True)
    assert done.stdout == b"continued"


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
