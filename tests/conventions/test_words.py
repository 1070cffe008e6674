"""The project's former private words do not return, neither as Python names nor in prose."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.support.repository import PYTHON_FILES, REPOSITORY, TEXT_FILES

WORDS = tomllib.loads(Path(__file__).with_name("words.toml").read_text())
NAME_PARTS, WHOLE_NAMES = set(WORDS["name_parts"]), set(WORDS["whole_names"])
PHRASES = re.compile(rf"\b(?:{'|'.join(WORDS['phrases'])})\b".replace(" ", r"\s+(?:#\s+)?"), re.IGNORECASE)
ALLOWED: tuple[str, ...] = (
    "bridge/admin/verify/audit.py",
    "bridge/core/",
    "bridge/delivery/",
    "bridge/daemon/selection.py",
    "bridge/daemon/server_sessions.py",
    "bridge/daemon/session_stream.py",
    "bridge/daemon/session_worker.py",
    "bridge/daemon/shard_sessions.py",
    "bridge/daemon/source.py",
    "bridge/demo/embedded_kafka.py",
    "bridge/demo/lines.py",
    "bridge/errors.py",
    "bridge/kafka/producer.py",
    "bridge/kafka/transactional.py",
    "bridge/settings/catalogue.py",
    "bridge/settings/naming.py",
    "bridge/settings/server.py",
    "bridge/simulator/server/agent_session.py",
    "bridge/simulator/server/journal.py",
    "bridge/simulator/server/sessions.py",
    "bridge/sse/blocks.py",
    "config/bridge.example.env",
    "config/bridge.example.toml",
    "config/settings.md",
    "docs/development/simulated-server.md",
    "docs/scaling.md",
    "tests/admin/test_findings.py",
    "tests/cli/test_cli.py",
    "tests/core/test_checkpoint_history.py",
    "tests/core/test_checkpoint_log.py",
    "tests/core/test_claim.py",
    "tests/core/test_continuity.py",
    "tests/core/test_continuity_model.py",
    "tests/core/test_in_flight.py",
    "tests/core/test_records.py",
    "tests/delivery/",
    "tests/delivery/test_delivery_model.py",
    "tests/delivery/test_delivery_thread.py",
    "tests/delivery/test_exactly_once_model.py",
    "tests/delivery/test_publisher.py",
    "tests/fakes/mix_model.py",
    "tests/fakes/sharding.py",
    "tests/fakes/transactions_model.py",
    "tests/golden/cases.py",
    "tests/integration/foreign/test_foreign_server.py",
    "tests/integration/test_backpressure.py",
    "tests/integration/test_checkpoints_topic.py",
    "tests/integration/test_continuity.py",
    "tests/integration/test_event_ids.py",
    "tests/integration/test_exactly_once.py",
    "tests/integration/test_invalid_records.py",
    "tests/integration/test_lifecycle.py",
    "tests/integration/test_records_end_to_end.py",
    "tests/integration/test_refused_records.py",
    "tests/integration/test_room_share.py",
    "tests/integration/test_shard_reader.py",
    "tests/kafka/test_errors.py",
    "tests/mix/test_sessions_api.py",
    "tests/packaging/__init__.py",
    "tests/packaging/test_wheel.py",
    "tests/settings/test_naming.py",
    "tests/settings/test_reference.py",
    "tests/settings/test_sources.py",
    "tests/sharding/test_claim_writer.py",
    "tests/sharding/test_invalid_checkpoints.py",
    "tests/simulator/test_load_script.py",
    "tests/sse/test_endings.py",
    "tests/sse/test_interruption.py",
    "tests/sse/test_responses.py",
)
"""Beginnings of paths that are not clean yet."""
CHECKED = [path for path in PYTHON_FILES if not str(path).startswith(ALLOWED)]


def names(tree: ast.Module) -> Iterator[str]:
    """All names that a module defines."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.alias(asname=str(name)):
                yield name


def words_of(name: str) -> set[str]:
    """The words of a name in lower case, also without a plural's ``s``."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
    return words | {word.removesuffix("s") for word in words}


def private_names(path: Path) -> set[str]:
    """The names in a file that the word list forbids, including the file's own."""
    tree = ast.parse((REPOSITORY / path).read_text())
    types = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    whole = {name for name in [*types, path.stem] if name.strip("_").lower() in WHOLE_NAMES}
    return whole | {name for name in [*names(tree), path.stem] if words_of(name) & NAME_PARTS}


def private_phrases(path: Path) -> list[str]:
    """The phrases in a file that the word list forbids, with their lines."""
    text = (REPOSITORY / path).read_text()
    return [f"{path}:{text.count(chr(10), 0, hit.start()) + 1}: {hit[0]}" for hit in PHRASES.finditer(text)]


def test_names_are_plain() -> None:
    """Names of modules, classes, functions, variables and parameters."""
    assert {str(path): found for path in CHECKED if (found := private_names(path))} == {}


def test_prose_is_plain() -> None:
    """Comments, docstrings, messages and pages."""
    files = [path for path in TEXT_FILES if not str(path).startswith(ALLOWED)]
    assert [hit for path in files for hit in private_phrases(path)] == []


def test_docstrings_describe() -> None:
    """A docstring that only refers to another place describes nothing."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for path in CHECKED:
        nodes = ast.walk(ast.parse((REPOSITORY / path).read_text()))
        docstrings = [ast.get_docstring(node) or "" for node in nodes if isinstance(node, documented)]
        assert [text for text in docstrings if re.fullmatch(r"See \S+( in \S+)?", text)] == [], path
