"""The command as a process: its exit code, stdout and stderr, and standard streams that are closed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bridge import __version__
from tests.support.process import MIX_BRIDGE, run_to_end
from tests.support.repository import REPOSITORY
from tests.support.waiting import TIMEOUT, wait_until

URL = "http://localhost:8088"


@pytest.fixture
def mix_bridge(tmp_path):
    """Runs the command in an empty folder, with only the given variables."""

    def run(*arguments, command=MIX_BRIDGE, **env):
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        # The folder of the sources stands first, so that an installed copy is not what is tested
        kept |= {"PYTHONPATH": os.getcwd(), "COLUMNS": "200", "PYTHONWARNINGS": "error"}  # noqa: PTH109 - where pytest runs
        return run_to_end([*command, *map(str, arguments)], kept | env, tmp_path)

    return run


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["run", "--version"], ["settings", "--version"], ["settings", "show", "--json", "--version"]],
)
def test_version_is_accepted_everywhere(mix_bridge, arguments):
    done = mix_bridge(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"mix-bridge {__version__}\n", "")


_AFTER_ITS_READER = """
import select, sys
poll = select.poll()
poll.register(1, 0)
poll.poll(60_000)
from bridge.cli import main
sys.exit(main())
"""
"""The command, once the reader of its output has left."""


def test_version_is_quick():
    """In processor time, which depends little on the other processes of the machine; 0.03 s when this was written."""

    def seconds() -> float:
        before = os.times()
        subprocess.run([*MIX_BRIDGE, "--version"], stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(seconds() for _ in range(5)) < 0.2


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["settings", "--help"], ["settings", "show", "-h"]]
)
def test_help_goes_to_stdout(mix_bridge, arguments):
    done = mix_bridge(*arguments)
    assert done.returncode == 0
    assert "Usage" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["run", "--frobnicate"],
        ["settings", "show", "--set", "hunter2"],
        ["settings", "show", "--server", URL, "--server", URL],
        ["settings", "show", "--server", f"a={URL}", "--server", f"a={URL}"],
        ["settings", "reference", "--format", "xml"],
        ["dead-letters", "list", "--reason", "shema"],
        ["topics", "plan", "--acls", "--principal", "mix-bridge", "--bootstrap-servers", "a:1"],
        ["dead-letters", "list", "--session", "local/"],
        ["dead-letters", "replay", "--session", "local"],
        ["dead-letters", "replay", "--since", "2999-01-01T00:00:00Z"],
        [],
    ],
)
def test_wrong_use_ends_with_2(mix_bridge, arguments):
    done = mix_bridge(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("arguments", [["--version"], ["settings", "schema"]])
def test_a_reader_that_leaves_ends_a_command_without_a_message(mix_bridge, arguments):
    """As `mix-bridge ... | head -0` does: not with 120 and an error of Python's own."""
    closed = ["sh", "-c", 'exec 3>&1 >&-; { "$@"; echo "$?" >&3; } | true', "sh"]
    waits = [sys.executable, "-c", _AFTER_ITS_READER]
    done = mix_bridge(*arguments, command=[*closed, *waits])
    assert (done.stdout.strip(), done.stderr) == ("1", "")


def test_help_shows_no_alias(mix_bridge):
    assert "dlq" not in mix_bridge("--help").stdout


def test_wrong_settings_end_with_78_and_one_line_each(mix_bridge, tmp_path):
    file = tmp_path / "bridge.toml"
    file.write_text('[kafka]\ncompresion = "s3cret"\n[http]\ntoken = "s3 cret"\n')
    done = mix_bridge("run", "--config", file, "--set", "http.port=x", MIX_BRIDGE_SERVERS__LOCAL__URL="nowhere")
    assert done.returncode == 78
    assert done.stdout == ""
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [
        "kafka.compresion",
        "servers.local.url",
        "http.port",
        "http.token",
        "kafka.bootstrap_servers",
    ]
    assert "s3" not in done.stderr


# The system's error for a user without rights; the tests may run as root, who has them all
_NOBODY = "import os; os.access = lambda *_: False; from bridge.cli import main; main()"


@pytest.mark.parametrize(("option", "why"), [("--config", "Is a directory"), ("--secrets-dir", "Not a directory")])
def test_an_unreadable_source_is_a_wrong_setting(mix_bridge, tmp_path, option, why):
    """One line with the reason of the operating system, and nothing of the content."""
    place = tmp_path / "place"
    if option == "--config":
        place.mkdir()
    else:
        place.write_text("")
    done = mix_bridge("run", option, place, command=[sys.executable, "-c", _NOBODY])
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == f"{option}: cannot read {place}: {why} (from {option})\n"


def test_an_unknown_guarantee_ends_with_78(mix_bridge):
    done = mix_bridge("run", "--server", URL, "--bootstrap-servers", "a:1", "--set", "delivery.guarantee=at_most_once")
    assert done.returncode == 78
    assert "'at_most_once' is not allowed; allowed: at_least_once or exactly_once" in done.stderr


def test_show_needs_no_server_and_run_does(mix_bridge):
    assert mix_bridge("settings", "show").returncode == 0
    done = mix_bridge("run")
    assert done.returncode == 78
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["servers", "kafka.bootstrap_servers"]


def test_show_masks_every_secret(mix_bridge, tmp_path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "http__token").write_text("hunter2\n")
    options = ["--server", "http://me:hunter2@h", "--set", "kafka.properties.x=hunter2"]
    env = {"MIX_BRIDGE_KAFKA__SSL_KEY_PASSWORD": "hunter2", "MIX_BRIDGE_KAFKA__SECURITY_PROTOCOL": "ssl"}
    plain, document = (
        mix_bridge("settings", "show", *more, "--secrets-dir", tmp_path / "secrets", *options, **env)
        for more in ((), ("--json",))
    )
    assert (plain.returncode, document.returncode) == (0, 0)
    assert "hunter2" not in plain.stdout + document.stdout
    tree = json.loads(document.stdout)
    assert tree["http"]["token"] == tree["kafka"]["properties"]["x"] == "**********"
    assert tree["servers"]["local"]["url"] == "http://**********@h"
    assert f"http.token = **********  (from {tmp_path / 'secrets' / 'http__token'})" in plain.stdout.splitlines()


def shown(mix_bridge: Any, words: str, **env: str) -> Any:
    """The settings that the command with these words prints."""
    done = mix_bridge(*words.split(), "--json", **env)
    assert done.returncode == 0
    return json.loads(done.stdout)


def test_options_are_accepted_before_and_after_the_command(mix_bridge):
    options = f"--server {URL} --set kafka.compression=zstd --log-level debug"
    assert shown(mix_bridge, f"{options} settings show") == shown(mix_bridge, f"settings show {options}")
    later = f"--server b={URL} --log-level debug"
    tree = shown(mix_bridge, f"--server {URL} --log-level error settings show {later}")
    assert (list(tree["servers"]), tree["log"]["level"]) == (["local", "b"], "debug")


def test_a_server_without_a_name_is_called_local(mix_bridge):
    servers = shown(mix_bridge, f"settings show --server {URL}/x=y --server my-box=http://b")["servers"]
    assert {name: server["url"] for name, server in servers.items()} == {"local": f"{URL}/x=y", "my-box": "http://b"}


def test_an_invalid_server_name_is_a_wrong_setting(mix_bridge):
    done = mix_bridge("settings", "show", "--server", f"My.Box={URL}")
    assert done.returncode == 78
    assert "is not a server name" in done.stderr


def test_the_shortest_options_set_the_settings(mix_bridge):
    options = f"--server {URL} --bootstrap-servers a:1,b:2 --session s1 --session s2"
    tree = shown(mix_bridge, f"settings show {options}")
    assert tree["kafka"]["bootstrap_servers"] == "a:1,b:2"
    assert (tree["servers"]["local"]["sessions"], tree["servers"]["local"]["discover"]) == (["s1", "s2"], False)


def test_a_stronger_source_replaces_a_weaker_one(mix_bridge, tmp_path):
    file = tmp_path / "bridge.toml"
    file.write_text(
        'namespace = "toml"\n[log]\nlevel = "error"\n[kafka]\ncompression = "gzip"\n[events]\nunknown = "skip"\n'
    )
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "log__level").write_text("warning\n")
    (credentials / "kafka__compression").write_text("snappy\n")
    (credentials / "namespace").write_text("secrets\n")
    env = {
        "MIX_BRIDGE_CONFIG": str(file),
        "CREDENTIALS_DIRECTORY": str(credentials),
        "MIX_BRIDGE_KAFKA__COMPRESSION": "zstd",
        "MIX_BRIDGE_NAMESPACE": "env",
        "MIX_BRIDGE_SERVICE_HOST": "10.0.0.1",
    }
    tree = shown(mix_bridge, "settings show --set namespace=option", **env)
    assert (tree["namespace"], tree["kafka"]["compression"]) == ("option", "zstd")
    assert (tree["log"]["level"], tree["events"]["unknown"], tree["http"]["port"]) == ("warning", "skip", 8090)


@pytest.mark.parametrize("arguments", [["--json"], ["--format", "json"]])
def test_the_reference_comes_as_json(mix_bridge, arguments):
    keys = json.loads(mix_bridge("settings", "reference", *arguments).stdout)["settings"]
    assert {"key", "variable", "default", "allowed", "secret", "meaning"} == set(keys[0])


@pytest.mark.parametrize("form", ["toml", "env", "markdown"])
def test_the_reference_comes_in_each_form(mix_bridge, form):
    done = mix_bridge("settings", "reference", "--format", form)
    assert done.returncode == 0
    assert "bootstrap" in done.stdout.lower()


def test_the_schema_is_one_json_document(mix_bridge):
    assert json.loads(mix_bridge("settings", "schema").stdout)["additionalProperties"] is False


_RAISING = """
import sys
from bridge import errors
from bridge.cli import main
from bridge.cli.app import app
from tests.support.waiting import TIMEOUT

@app.command()
def fail():
    raise {error}

main()
"""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ("errors.SettingsError.of('log.level', 'is not loud')", 78, "log.level: is not loud\n"),
        ("errors.Unreachable('Kafka did not answer')", 69, "Kafka did not answer\n"),
        ("errors.FatalFault('the producer is gone')", 75, "the producer is gone\n"),
        ("errors.Stopped", 0, ""),
    ],
)
def test_errors_of_the_bridge_have_their_exit_codes(mix_bridge, error, code, said):
    done = mix_bridge("fail", command=[sys.executable, "-c", _RAISING.format(error=error)])
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)


def test_a_bug_ends_with_70_and_one_line_that_shows_no_value(mix_bridge):
    command = [sys.executable, "-c", _RAISING.format(error="ValueError('hunter2')")]
    done = mix_bridge("fail", command=command)
    assert done.returncode == 70
    (line,) = done.stderr.splitlines()
    assert "a bug: ValueError in fail" in line
    assert "please report it" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--log-level", "debug", "fail"], {}),
        (["--set", "log.level=debug", "fail"], {}),
        (["fail"], {"MIX_BRIDGE_LOG__LEVEL": "debug"}),
    ],
)
def test_a_bug_shows_its_traceback_at_log_level_debug(mix_bridge, arguments, env):
    done = mix_bridge(*arguments, command=[sys.executable, "-c", _RAISING.format(error="ValueError('x')")], **env)
    assert done.returncode == 70
    assert "Traceback (most recent call last)" in done.stderr


def test_an_interrupted_command_ends_with_130(mix_bridge):
    done = mix_bridge("fail", command=[sys.executable, "-c", _RAISING.format(error="KeyboardInterrupt")])
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        "settings show > /dev/full",
        "settings show --json > /dev/full",
        "support-bundle --output bundle --url 127.0.0.1:1",
    ],
)
def test_a_full_disk_is_no_bug(tmp_path, words):
    """One line says so, and no half of an archive stays behind. Files may have no bytes here, pipes may."""
    line = f"ulimit -f 0; exec {' '.join(MIX_BRIDGE)} {words}"
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (75, 1), done.stderr
    assert "the output cannot be written: " in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_stop_while_the_settings_are_read_ends_with_0(tmp_path):
    """The daemon handles no signal yet: without a handler, the first process of a container would not even end."""
    file = tmp_path / "bridge.toml"
    os.mkfifo(file)

    def writer():
        with suppress(OSError):  # until the command waits for the text of the file
            return os.open(file, os.O_WRONLY | os.O_NONBLOCK)

    with subprocess.Popen([*MIX_BRIDGE, "run", "--config", file], stderr=subprocess.PIPE) as process:
        descriptor = wait_until(writer)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=TIMEOUT)[1] == b""
        assert process.returncode == 0
        os.close(descriptor)


def test_completion_is_for_the_name_of_the_command(mix_bridge):
    """The shell's script asks the command itself."""
    shown = mix_bridge("--show-completion", "bash")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "complete -o default -F _mix_bridge_completion mix-bridge" in shown.stdout


@pytest.mark.parametrize(("words", "found"), [("che", {"check", "checkpoints"}), ("topics ", {"plan", "apply"})])
def test_words_are_completed(mix_bridge, words, found):
    given = {"COMP_WORDS": f"mix-bridge {words}", "COMP_CWORD": str(len(words.split(" ")))}
    done = mix_bridge(**given, _MIX_BRIDGE_COMPLETE="complete_bash")
    assert (done.returncode, set(done.stdout.split()), done.stderr) == (0, found, "")


SHOW = """
import os, socket, sys
from bridge.cli import open_missing
open_missing()
first = socket.socket()
names = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
sys.stderr.write("to nobody")
sys.stderr.flush()
with open(sys.argv[1], "w") as out:
    print(first.fileno() > 2, *names, file=out)
"""


@pytest.mark.parametrize(("closed", "kept"), [("<&- >&- 2>&-", 0), ("2>&-", 2), ("<&-", 2), ("", 3)])
def test_no_connection_gets_the_number_of_a_closed_standard_stream(tmp_path: Path, closed: str, kept: int) -> None:
    """What is written to a closed one gets nowhere, and open ones are kept."""
    out, program = tmp_path / "out", tmp_path / "show.py"
    program.write_text(SHOW)
    shell = f'exec "$0" "$1" "$2" {closed}'
    with (tmp_path / "kept").open("w+") as stream:
        subprocess.run(
            ["sh", "-c", shell, sys.executable, program, out],
            check=True,
            stdin=stream,
            stdout=stream,
            stderr=stream,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        stream.seek(0)
        assert ("to nobody" in stream.read()) is ("2>" not in closed)
    is_above, *names = out.read_text().split()
    assert is_above == "True"
    assert names.count(os.devnull) == 3 - kept
    assert names.count(str(tmp_path / "kept")) == kept
