"""What is pinned: groups of documents, each a file's name and its text."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Producer

from tests.golden import seams
from tests.golden.seams import Bytes, Given, Known
from tests.support.process import MIX_BRIDGE, run_to_end

Documents = dict[str, str]
ROOT = Path(__file__).parents[2]
EXPECTED = Path(__file__).parent / "expected"
NOWHERE = "127.0.0.1:1"
"""Nobody listens there."""

PROSE = frozenset(
    {
        "detail",
        "hint",
        "error",
        "why",
        "advice",
        "lack",
        "failing",
        "cannot_see",
        "meaning",
        "allowed",
        "description",
        "bridge.error",
    }
)
"""Members that hold sentences for people."""


# Texts


def without_prose(value: Any, name: str = "") -> Any:
    """The value with ``<text>`` instead of each sentence: how many sentences there are is still pinned."""
    if isinstance(value, dict):
        return {key: without_prose(each, key) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_prose(each, name) for each in value]
    return "<text>" if isinstance(value, str) and name in PROSE else value


def document(value: Any) -> str:
    """A JSON document without its prose."""
    return json.dumps(without_prose(value), indent=2) + "\n"


def readable(data: bytes) -> str:
    """UTF-8 text on one line; a backslash is doubled, what cannot be printed is escaped. Long data is a digest."""
    if len(data) > 4000:
        return f"{data[:40].decode(errors='ignore')}... sha256 {hashlib.sha256(data).hexdigest()}"
    characters = data.decode().replace("\\", "\\\\")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in characters)


def record_text(title: str, record: Bytes | None) -> str:
    """A record, byte for byte."""
    if record is None:
        return f"== {title}\nno record\n"
    lines = [
        f"== {title}",
        f"topic: {record.topic}",
        f"timestamp: {record.timestamp_ms}",
        f"key: {readable(record.key)}",
    ]
    for name, value in record.headers:
        is_prose = name == "bridge.error" and dict(record.headers)["bridge.reason"] != b"rejected"
        lines.append(f"header {name}: {'<text>' if is_prose else readable(value)}")
    lines.append(
        "tombstone" if record.value is None else f"value of {len(record.value)} bytes: {readable(record.value)}"
    )
    return "\n".join(lines) + "\n"


def records_text(records: Mapping[str, Bytes | None]) -> str:
    """Several records."""
    return "\n".join(record_text(title, record) for title, record in records.items())


# Records

GOOD = '{"type":"content", "content":"caf\u00e9 \u2028", "new":[1.0, 1e2]}'
WRONG = '{"type":"content","content":42}'
STRANGE = 'a"b\\c\n\x00\x1f%/# \u2028\u00e9\U0001f600'

EVENTS = {
    "JSON": Given(GOOD),
    "without an id of its own": Given(GOOD, own_id=None),
    "with an empty id": Given(GOOD, own_id="", last_event_id=""),
    "text": Given("plain \u00e9 words\nin two lines", "novelty"),
    "empty data": Given("", "novelty"),
    "a number that Python's JSON would change": Given("[1.50, 12345678901234567890, NaN]", "novelty"),
    "strange name, id and session": Given("1", STRANGE, STRANGE, STRANGE, STRANGE),
    "another server, a session with a slash": Given("1", "novelty", session="a/b c+d~e", server="far-away_1"),
    "an event about a subagent": Given('{"agentId":"a-1"}', "subagent_started"),
    "of a type that is skipped": Given(GOOD, "heartbeat"),
}
DEAD_LETTERS: dict[str, tuple[Given, dict[str, str]]] = {
    "invalid_json": (Given('{"type":"content","content":"caf\u00e9'), {}),
    "invalid_json: NaN": (Given('{"a":NaN}', own_id=None), {}),
    "schema": (Given(WRONG), {}),
    "unknown_event": (Given('{"x": 1}', "novelty"), {"events__unknown": "dead_letter"}),
    "oversize: cut": (Given('"' + "\u00e9" * 40_000 + '"'), {"events__max_bytes": "64KiB"}),
    "oversize: short": (Given(GOOD), {"events__max_bytes": "10"}),
    "oversize: not kept by the reader": (Given(GOOD, kept='{"type"'), {}),
    "oversize: event name": (Given("1", "\u00e9" * 9000), {}),
    "rejected": (Given(GOOD, rejected="broker: \x1b no\n  " + "x" * 600), {}),
}


def events() -> Documents:
    """Every form of an event record, and of one that a replay sends."""
    letter = seams.event_record(Given(GOOD, rejected="refused"))
    text = seams.event_record(Given("plain", "novelty", rejected="refused"))
    assert letter is not None
    assert text is not None
    found = {}
    for form in ("structured", "binary", "raw"):
        records = {title: seams.event_record(given, events__format=form) for title, given in EVENTS.items()}
        more = {"events__format": form, "events__invalid": "publish", "events__type_prefix": "x."}
        records["invalid, published"] = seams.event_record(Given(WRONG), **more)
        records["no JSON, published"] = seams.event_record(Given("{"), **more)
        route = '[{"match": "cont*", "topic": "mix.tools"}]'
        records["routed"] = seams.event_record(Given(GOOD), events__format=form, topics__routes=route)
        records["replayed"] = seams.replayed_record(letter, events__format=form)
        records["replayed text"] = seams.replayed_record(text, events__format=form)
        found[f"events_{form}.txt"] = records_text(records)
    return found


def dead_letters() -> Documents:
    """A dead letter for each reason; the format of events makes no difference."""
    made = {
        title: [seams.event_record(given, events__format=form, **chosen) for form in ("structured", "binary", "raw")]
        for title, (given, chosen) in DEAD_LETTERS.items()
    }
    assert all(one == two == three for one, two, three in made.values())
    return {"dead_letters.txt": records_text({title: three[0] for title, three in made.items()})}


# Lifecycle

REASONS = {
    "attached": ["new_session"],
    "resumed": [
        "believed", "kafka_refused", "known_forgotten", "late_checkpoint", "next_id", "nothing_before",
        "replay_proved", "settings_changed", "too_many_under_one_id",
    ],
    "gap": [
        "events_without_ids", "fetched_again", "forgotten", "ids_jumped", "not_healed", "not_provable",
        "not_recognised", "not_replayed", "replay_incomplete", "start_id_skipped", "start_id_unknown",
        "stood_still", "unsendable_id",
    ],
    "reset": ["ids_started_over"],
    "unresumable": ["no_ids", "refused_id"],
    "ended": ["deleted", "gone"],
}  # fmt: skip

_NEW = Known("0", (), is_new=True)
STREAMS: dict[str, tuple[Known, list[list[str | None]]]] = {
    "a new session": (_NEW, [["1", "2"]]),
    "a new session, ids jump, healed": (_NEW, [["1", "4"]]),
    "replay proved": (Known(), [["5", "6"]]),
    "ids jump, and jump again": (Known(), [["5", "6", "7", "8", "12"], ["5", "6", "7", "8", "12"]]),
    "ids jump, the next connection is elsewhere": (Known(), [["5", "6", "7", "8", "12"], ["20"]]),
    "nothing is in Kafka yet": (Known("0", (), is_used=False), [["1"]]),
    "many events under one id": (Known("4", ("5",) * 256), [["5"] * 257]),
    "events without ids before": (Known(certain=False), [["5", "6"]]),
    "the next id, nothing kept": (Known("", ("7",)), [["8"]]),
    "without overlap": (Known(overlap=False), [["6"]]),
    "without overlap, an id that cannot be sent": (Known(ids=(" x",), overlap=False), [["6"]]),
    "forgotten, with a hole": (Known(), [["9"]]),
    "the last event forgotten": (Known(), [["6"]]),
    "an unknown text id": (Known(), [["abc"], ["abc"]]),
    "an unknown text id, not there any more": (Known(), [["abc"], ["def"]]),
    "half a replay": (Known("4", ("5", "5")), [["5", "9"]]),
    "not replayed": (Known(), [[], []]),
    "ids started over": (Known(), [["2"]]),
    "a server without ids": (Known("0", (None,), without_ids=True, has_ids=False), [[None]]),
    "text ids, nothing proves": (Known("x", ("y",)), [["z"], ["z"]]),
    "text ids from the start": (Known("0", ()), [["z"]]),
    "before the first event, reconnected": (Known("0", (), is_used=False), [["4"]]),
    "an id that cannot be sent, none before it": (Known("", (" x",)), [["6"]]),
    "a jump at the first event": (Known("3", ()), [["9"]]),
}


def lifecycle() -> Documents:
    """A record of each kind and reason, and what streams have announced."""
    records: dict[str, Bytes | None] = {}
    for kind, reasons in REASONS.items():
        for reason in reasons:
            records[f"{kind} {reason}"] = seams.lifecycle_record(
                kind, reason, detail="a sentence", from_last_event_id="40", to_last_event_id="41"
            )
    ids = {"from_last_event_id": STRANGE, "to_last_event_id": "x" * 300}
    records["missing events, a new epoch, strange ids, more than a line"] = seams.lifecycle_record(
        "gap", "ids_jumped", 1_764_000_001, detail="one\n  two \x1b" + "\u00e9" * 400, missing=8, **ids
    )
    found = {title: seams.announced(known, streams) for title, (known, streams) in STREAMS.items()}
    found["a reader that stood still, without ids"] = seams.announced(
        Known("0", (), without_ids=True, has_ids=False, is_used=False), [[None]], stalls=True
    )
    return {
        "lifecycle.txt": records_text(records),
        "lifecycle_of_streams.json": "{\n"
        + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in found.items())
        + "\n}\n",
        "lifecycle_reasons.json": document(
            {"written in the code": _literals(REASONS), "after a refused record": seams.kafka_refused()}
        ),
    }


def _literals(reasons: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The reasons that are string literals of the package: the ones that no stream here brings about too."""
    trees = (ast.parse(path.read_text()) for path in (ROOT / "bridge").rglob("*.py"))
    texts = {each.value for tree in trees for each in ast.walk(tree) if isinstance(each, ast.Constant)}
    return {kind: [each for each in codes if each in texts] for kind, codes in reasons.items()}


# Checkpoints and the bridge's own records


def checkpoints() -> Documents:
    """Checkpoints, claims, tombstones, committed metadata, exports, and the documents of the commands."""
    records: dict[str, Bytes | None] = {
        "active": seams.checkpoint_record("5e55-10n"),
        "ended": seams.checkpoint_record("5e55-10n", state="ended"),
        "without overlap and token": seams.checkpoint_record("5e55-10n", term=None, overlap=False),
        "strange session": seams.checkpoint_record(STRANGE),
        "claim": seams.claim_record("a"),
    }
    records |= {f"written by a command, {at}": each for at, each in enumerate(seams.written_by_commands("5e55-10n"))}
    good, term = seams.checkpoint_record("5e55-10n"), seams.checkpoint_record("other", state="ended", term=None)
    bad = [Bytes(b"local/bad", b"{}"), Bytes(b"nobody", b'{"epoch":5}'), Bytes(b"\xff", b"\xff")]
    metadata = [seams.committed_metadata("a", left=False), seams.committed_metadata(None, left=True)]
    return {
        "checkpoints.txt": records_text(records),
        "checkpoints_export.txt": "\n".join(readable(line) for line in seams.export_lines(["5e55-10n", "b"])) + "\n",
        "checkpoints_commands.json": document(seams.checkpoints_documents([good, term, *bad], "5e55-10n")),
        "committed_metadata.txt": "\n".join(metadata) + "\n",
        "shared_names.json": document(seams.shared_names()),
    }


# HTTP


def http() -> Documents:
    """Every path of a daemon that is well, in trouble or starting; with a token too."""
    found = {}
    for kind in ("well", "troubled", "starting"):
        with seams.endpoint(kind) as url:
            answers = {path: _answer(url + path) for path in ("/livez", "/readyz", "/api/status")}
            found[f"http_{kind}.json"] = document(answers)
            if kind == "well":
                found["metrics.txt"] = _metrics(_answer(f"{url}/metrics")["body"])
                found["http_other.json"] = document(
                    {"/none": _answer(f"{url}/none"), "/livez/": _answer(f"{url}/livez/")}
                )
    basic = "Basic " + base64.b64encode(b"anybody:s3cret").decode()
    tokens = {"none": "", "wrong": "Bearer x", "bearer": "Bearer s3cret", "password": basic}
    with seams.endpoint("well", "s3cret") as url:
        answers = {
            f"{path} {name}": _answer(url + path, text)["status"]
            for path in ("/livez", "/readyz", "/metrics", "/api/status")
            for name, text in tokens.items()
        }
        found["http_token.json"] = document({"statuses": answers, "refusal": _answer(f"{url}/api/status")})
    return found


def _answer(url: str, authorization: str = "") -> dict[str, Any]:
    request = urllib.request.Request(url, headers={"Authorization": authorization} if authorization else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        response = opener.open(request, timeout=10)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        body = response.read().decode()
        headers = [[name, value] for name, value in response.headers.items() if name not in {"date", "content-length"}]
        is_json = response.headers["content-type"] == "application/json"
        return {"status": response.status, "headers": headers, "body": json.loads(body) if is_json else body}


def _metrics(text: str) -> str:
    """Names, types, labels and values; of the process's own metrics no values."""
    lines = [line for line in text.splitlines() if not line.startswith("# HELP")]
    return (
        "\n".join(line.rpartition(" ")[0] if line.startswith("mix_bridge_process") else line for line in lines) + "\n"
    )


# Commands


class Ran(NamedTuple):
    """How a command ended, and the document it wrote, if any."""

    code: int
    stdout: str

    @property
    def json(self) -> Any:
        """The document."""
        return json.loads(self.stdout)


def run(*arguments: str, **environment: str) -> Ran:
    """The command in an empty folder, with no variables but these."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    kept |= {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    with tempfile.TemporaryDirectory() as folder:
        done = run_to_end([*MIX_BRIDGE, *arguments], kept | environment, Path(folder))
    return Ran(done.returncode, done.stdout)


def _run_all(commands: Mapping[str, Sequence[str]]) -> dict[str, Ran]:
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(commands, pool.map(lambda each: run(*each), commands.values()), strict=True))


def settings() -> Documents:
    """Keys, variables, defaults, the schema, what is in effect, and the options of every command."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as secrets:
        file = Path(folder) / "bridge.toml"
        file.write_text(
            'namespace = "from-file"\n[servers.local]\nurl = "http://h/x"\nproxy = "http://user:s3cret@proxy:1"\n'
        )
        (Path(secrets) / "servers__local__token").write_text("s3cret\n")
        sources = {
            "MIX_BRIDGE_CONFIG": str(file),
            "CREDENTIALS_DIRECTORY": secrets,
            "MIX_BRIDGE_INSTANCE": "from-variable",
            "MIX_BRIDGE_SERVERS__LOCAL__HEADERS__X_A": "s3cret",
        }
        shown = run("settings", "show", "--json", "--set", "kafka.compression=zstd", **sources).json
    return {
        "settings_reference.json": document(run("settings", "reference", "--json").json),
        "settings_schema.json": document(_without_names(run("settings", "schema").json)),
        "settings_show.json": document(shown),
        "commands.json": document(seams.commands()),
    }


def _without_names(schema: dict[str, Any]) -> Any:
    """The schema with its definitions in place: their names, and titles, are those of classes."""

    def inlined(value: Any) -> Any:
        if isinstance(value, list):
            return [inlined(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            value = schema["$defs"][value["$ref"].rpartition("/")[2]] | {k: v for k, v in value.items() if k != "$ref"}
        return {k: inlined(v) for k, v in value.items() if k != "$defs" and not (k == "title" and isinstance(v, str))}

    return inlined(schema)


def kafka_commands() -> Documents:
    """Commands that read topics, on Kafka's client's own mock cluster."""
    owner = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    brokers = ",".join(f"{each.host}:{each.port}" for each in owner.list_topics(timeout=10).brokers.values())
    letters = [seams.event_record(given, **chosen) for given, chosen in list(DEAD_LETTERS.values())[2:4]]
    _write(brokers, [*letters, *map(seams.event_record, EVENTS.values())])
    named = ["--json", "--bootstrap-servers", brokers]
    ran = _run_all(
        {
            "dead_letters_list": ["dead-letters", "list", *named],
            "dead_letters_each": ["dead-letters", "list", "--each", *named],
            "dead_letters_show": ["dead-letters", "show", "3:0", "9:9", *named],
            "verify_loss": ["verify", *named],
            "verify_unknown": ["verify", "--session", "local/none", *named],
        }
    )
    refused = [each for each in letters if each is not None]
    whole = seams.event_record(Given(GOOD, rejected="refused"))
    found = {f"{name}.json": document({"exit code": each.code, "document": each.json}) for name, each in ran.items()}
    assert whole is not None
    return found | {"dead_letters_replay.json": document(seams.replay_document([*refused, whole]))}


def _write(brokers: str, records: Iterable[Bytes | None]) -> None:
    producer = Producer({"bootstrap.servers": brokers, "partitioner": "murmur2"})
    for topic in ("mix.events", "mix.dead-letters", "mix.lifecycle", "mix.checkpoints"):
        producer.list_topics(topic, timeout=10)  # creates it
    more = [
        seams.checkpoint_record("5e55-10n"),
        seams.claim_record("a"),
        seams.lifecycle_record("gap", "ids_jumped", detail="", missing=8),
        Bytes(b"foreign", b"not ours", topic="mix.events"),
    ]
    for each in [*records, *more]:
        if each is not None:
            producer.produce(each.topic, each.value, each.key, headers=list(each.headers), timestamp=each.timestamp_ms)
    producer.flush(10)


def exit_codes() -> Documents:
    """How commands end that need no Kafka, and ``--json`` of ``check`` and ``status``."""
    away = ["--bootstrap-servers", NOWHERE, "--server", f"http://{NOWHERE}"]
    quick = ["--set", "start_timeout=1s", "--set", "http.port=none"]
    with seams.endpoint("well") as well, seams.endpoint("troubled") as troubled, seams.endpoint("well", "t") as closed:
        commands = {
            "--version": ["--version"],
            "--help": ["--help"],
            "no command": [],
            "unknown command": ["frobnicate"],
            "topics plan without Kafka's address": ["topics", "plan"],
            "unknown option": ["run", "--frobnicate"],
            "run without settings": ["run"],
            "run, unknown key": ["run", *away, "--set", "kafka.compresion=zstd"],
            "run, wrong value": ["run", *away, "--set", "http.port=x"],
            "run, Kafka away": ["run", *away, *quick],
            "check, all away": ["check", "--json", *away, "--set", "http.port=0"],
            "settings show, wrong value": ["settings", "show", "--set", "log.level=x"],
            "dead-letters list without Kafka's address": ["dead-letters", "list"],
            "checkpoints set without arguments": ["checkpoints", "set"],
            "status, ready": ["status", "--json", "--url", well],
            "status, not ready": ["status", "--json", "--url", troubled],
            "status, away": ["status", "--json", "--url", well, "--url", NOWHERE],
            "status, wrong token": ["status", "--json", "--url", closed],
        }
        ran = _run_all(commands)
        addresses = {well: "<well>", troubled: "<troubled>", closed: "<closed>"}
    codes = {title: {"code": each.code, "stdout": bool(each.stdout)} for title, each in ran.items()}
    documents = {title: ran[title].json for title in ran if title.startswith(("check,", "status,"))}
    text = document(documents | {"check, topics": seams.check_document()})
    for url, name in addresses.items():
        text = text.replace(url, name)
    return {"exit_codes.json": document(codes), "status_and_check.json": text}


GROUPS: tuple[Callable[[], Documents], ...] = (
    events, dead_letters, lifecycle, checkpoints, http, settings, kafka_commands, exit_codes,
)  # fmt: skip
