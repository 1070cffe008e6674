"""``mix-bridge support-bundle`` with a running daemon, one that is away, and one that wants a token."""

from __future__ import annotations

import io
import json
import logging
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bridge import clock
from bridge.cli.app import app
from bridge.errors import BridgeError
from bridge.observe.api import HttpEndpoint
from bridge.observe.log_levels import LogLevels
from bridge.observe.log_writer import RECENT_LINES, LogWriter
from tests.fakes.http_endpoint import WELL
from tests.support.waiting import TIMEOUT


def bundle(folder: Path, *arguments: str, code: int, env: dict[str, str] | None = None) -> dict[str, str]:
    """The files of the archive that the command writes, by name; it must end with this code."""
    file = folder / "bundle.tar.gz"
    result = CliRunner().invoke(app, ["support-bundle", "--output", str(file), *arguments], env=env or {})
    ended = result.exception.exit_code if isinstance(result.exception, BridgeError) else result.exit_code
    assert ended == code, (result.output, result.exception)
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        members = {each.name.partition("/")[2]: archive.extractfile(each) for each in archive.getmembers()}
        return {name: found.read().decode() for name, found in members.items() if found is not None}


@pytest.fixture
def writer() -> LogWriter:
    """The handler of a daemon, without a stream."""
    return LogWriter(io.StringIO())


def test_everything_of_a_daemon_is_in_the_archive_and_no_secret(tmp_path: Path, writer: LogWriter) -> None:
    """Not even a secret that a line of the log contains."""
    root = logging.getLogger()
    root.addHandler(writer)
    endpoint = HttpEndpoint("127.0.0.1", 0, "hunter2-http", lambda: WELL, LogLevels("info"))
    port = endpoint.start()
    try:
        root.warning("a line with hunter2-http in it")
        env = {"MIX_BRIDGE_HTTP__TOKEN": "hunter2-http"}
        url = f"http://127.0.0.1:{port}"
        files = bundle(tmp_path, "--url", url, "--url", "http://127.0.0.1:1", code=69, env=env)
        other = tmp_path / "other"
        other.mkdir()
        wrong = bundle(other, "--url", url, code=78, env={"MIX_BRIDGE_HTTP__TOKEN": "other"})
    finally:
        root.removeHandler(writer)
        writer.close()
        endpoint.stop()
        assert endpoint.join(clock.monotonic() + TIMEOUT)
    folder = f"127.0.0.1-{port}"
    of_daemon = {name.removeprefix(f"{folder}/") for name in files if name.startswith(f"{folder}/")}
    expected = {"livez.json", "readyz.json", "status.json", "metrics.txt", "log.txt", "stacks.txt", "versions.json"}
    assert of_daemon == expected
    assert {"version.txt", "settings.json", "settings.txt", "missing.txt"} <= files.keys()
    assert json.loads(files[f"{folder}/status.json"])["sessions"]
    assert "a line with ********** in it" in files[f"{folder}/log.txt"]
    assert "Thread MainThread" in files[f"{folder}/stacks.txt"]
    assert files["missing.txt"].count("http://127.0.0.1:1: no ") == 5
    assert not any("hunter2" in text for text in files.values())
    assert "HTTP status 401" in wrong["missing.txt"]


def test_an_existing_file_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    """One line, and nothing is overwritten."""
    file = tmp_path / "there"
    file.write_text("mine")
    for output in (file, tmp_path / "no" / "folder"):
        done = CliRunner().invoke(app, ["support-bundle", "--output", str(output), "--url", "127.0.0.1:1"])
        assert (done.exit_code, "cannot write" in done.output) == (2, True)
    assert file.read_text() == "mine"


def test_json_names_the_archive_and_what_is_missing(tmp_path: Path) -> None:
    """One document, and the archive is written all the same."""
    file = tmp_path / "bundle.tar.gz"
    done = CliRunner().invoke(app, ["support-bundle", "--output", str(file), "--url", "127.0.0.1:1", "--json"])
    shown = json.loads(done.stdout)
    assert (done.exit_code, shown["ok"], shown["file"], len(shown["missing"])) == (69, False, str(file), 5)
    assert file.exists()


def test_only_the_last_lines_are_kept(writer: LogWriter) -> None:
    """A long line is cut."""
    record = logging.LogRecord("bridge.test", logging.WARNING, "", 0, "x" * 5000, None, None)
    for _ in range(RECENT_LINES + 10):
        writer._put("a line\n")
    writer.emit(record)
    writer.close()
    recent = writer.recent()
    assert (len(recent), recent[0]) == (RECENT_LINES, "a line\n")
    assert len(recent[-1]) < 2100
