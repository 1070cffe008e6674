"""taplo, as editors run it, with the schema that is shipped: right files pass, mistakes are shown at their line."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.docs.pages import blocks
from tests.support.optional import missing
from tests.support.repository import REPOSITORY

CONFIG = REPOSITORY / "config"
EXAMPLE = CONFIG / "bridge.example.toml"
SCHEMA = CONFIG / "settings.schema.json"

AROUND = {
    "": ('instance = "bridge-0"', "[log]"),
    "[servers.local]": ('url = "http://localhost:8088"', "discover_interval = 5"),
    "[kafka]": ('bootstrap_servers = ["kafka:9092"]', 'group_session_timeout = "10s"'),
    "[topics]": ("shards = 8", "create = false"),
    "[events]": ('format = "raw"', 'skip = "thinking,content"'),
    "[delivery]": ("drain_timeout = 25.5", "max_in_flight = 5"),
    "[http]": ('host = "0.0.0.0"', 'token_file = "token"'),
    "[log]": ('format = "json"', "[telemetry]"),
}
"""Right lines of each table: one before and one after a mistake."""
MISTAKES = (
    ("", "namespace = 'my mix'"),
    ("", "start_timeout = true"),
    ("", "start_timeout = '10 seconds'"),
    ("", "start_timeout = -1"),
    ("", "workers = 0"),
    ("", "workers = 'many'"),
    ("", "servres = {}"),
    ("", "servers = { Local = { url = 'http://localhost:8088' } }"),
    ("", "servers = { local = { sessions = ['a'] } }"),
    ("[servers.local]", "sesions = ['a']"),
    ("[servers.local]", "sessions = ['a', 'a']"),
    ("[servers.local]", "proxy = 'localhost:3128'"),
    ("[servers.local]", "discover = 'perhaps'"),
    ("[servers.local]", "max_sessions = 0"),
    ("[servers.local]", "max_sessions = 2.5"),
    ("[servers.local]", "without_ids = 'refused'"),
    ("[servers.local]", "reconnect_min = '500 ms'"),
    ("[kafka]", "compression = 'lz5'"),
    ("[kafka]", "bootstrap_server = 'kafka:9092'"),
    ("[kafka]", "security_protocol = 'tls'"),
    ("[topics]", "partitions = 0"),
    ("[topics]", "events = 'my events'"),
    ("[topics]", "routes = [{ match = 'tool_*' }]"),
    ("[events]", "max_bytes = '900 kilobytes'"),
    ("[events]", "unknown = 'drop'"),
    ("[delivery]", "guarantee = 'at_most_once'"),
    ("[delivery]", "max_buffer_bytes = '128MB'"),
    ("[delivery]", "max_buffer_bytes = 10"),
    ("[http]", "port = 70000"),
    ("[log]", "level = 'loud'"),
)
"""Wrong lines, each with its table."""
UNKNOWN_KEYS = {"servres = {}", "sesions = ['a']", "bootstrap_server = 'kafka:9092'"}
NAMED = f"#:schema {SCHEMA.as_uri()}\n"


def lint(*files: Path) -> tuple[int, dict[str, set[int]]]:
    """The exit code of taplo without a network, and the lines of each file that it shows."""
    program = shutil.which("taplo", path=str(Path(sys.executable).parent))
    if program is None:
        missing("taplo is not installed: it has no wheel for this machine")
    done = subprocess.run(
        [program, "lint", "--colors=never", *files],
        capture_output=True, text=True, check=False, cwd=files[0].parent, env={"HTTPS_PROXY": "http://127.0.0.1:9"},
    )  # fmt: skip
    shown: dict[str, set[int]] = {}
    for name, line in re.findall(r"┌─ .*?([^/\n]+):(\d+):\d+$", done.stderr, re.MULTILINE):
        shown.setdefault(name, set()).add(int(line))
    return done.returncode, shown


def test_it_accepts_all_examples(tmp_path: Path) -> None:
    """The example as it is and with each line in use, the files in the pages, and that of Kubernetes."""
    manifest = next(yaml.safe_load_all((CONFIG / "kubernetes/mix-bridge.yaml").read_text()))
    in_use = re.sub(r'^# (?=(?:[a-z_]+|"[a-z.-]+") = |\[[a-z.]+\]$)', "", EXAMPLE.read_text(), flags=re.MULTILINE)
    assert "\n[kafka.properties]\n" in in_use
    assert "\nroutes = [{" in in_use
    for at, text in enumerate((in_use, manifest["data"]["bridge.toml"], *(each.text for each in blocks("toml")))):
        (tmp_path / f"{at}.toml").write_text(NAMED + text.removeprefix("#:schema ./settings.schema.json\n"))
    found = sorted(tmp_path.iterdir())
    assert len(found) >= 5
    assert lint(EXAMPLE, *found) == (0, {})


def test_it_shows_each_mistake_at_its_line(tmp_path: Path) -> None:
    """No other line beside it; for a key that does not exist, taplo shows the whole table too."""
    for at, (table, mistake) in enumerate(MISTAKES):
        before, after = AROUND[table]
        (tmp_path / f"{at}.toml").write_text(f"{NAMED}{table}\n{before}\n{mistake}\n{after}\n")
    code, shown = lint(*tmp_path.iterdir())
    assert code != 0
    for at, (_, mistake) in enumerate(MISTAKES):
        lines = shown.get(f"{at}.toml", set())
        assert lines == {4} or (4 in lines and mistake in UNKNOWN_KEYS), (mistake, lines)


def test_the_example_needs_no_option() -> None:
    """Its first line names the schema, by a path that exists."""
    first = EXAMPLE.read_text().partition("\n")[0].removeprefix("#:schema ")
    assert (CONFIG / first).resolve() == SCHEMA
