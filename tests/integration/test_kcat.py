"""The commands of docs/recipes/kcat.md, run by kcat itself."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.consumer.records import record, send
from tests.docs.pages import blocks
from tests.support.optional import missing
from tests.support.topics import create_topic
from tests.support.waiting import TIMEOUT


@pytest.fixture
def commands(kafka: str, namespace: str) -> list[str]:
    """The blocks of the page, for topics of this test."""
    for program in ("kcat", "jq"):
        if shutil.which(program) is None:
            missing(f"needs {program}: apt-get install kcat jq")
    for topic in ("events", "dead-letters"):
        create_topic(kafka, f"{namespace}.{topic}")
    send(
        kafka, f"{namespace}.events", *(record(n) for n in (1, 2, 1, 2, 3)), record(1, epoch=6), record(1, session="b")
    )
    send(kafka, f"{namespace}.dead-letters", record(4, "{}"))
    texts = [block.text for block in blocks("sh") if block.page.name == "kcat.md"]
    return [text.replace("localhost:9092", kafka).replace("mix.", f"{namespace}.", 1) for text in texts]


def test_the_commands_print_what_the_page_says(commands: list[str]) -> None:
    """Events, dead letters with their headers, and the rule in awk."""
    printed = [
        subprocess.run(["bash", "-c", each], capture_output=True, text=True, check=True, timeout=TIMEOUT).stdout
        for each in commands
    ]
    assert [json.loads(line)["type"] for line in printed[0].splitlines()] == ["mix.content"] * 7
    assert "bridge.reason=schema" in printed[1]
    assert printed[2].splitlines() == [*["demo/a/b mix.content"] * 4, "demo/b mix.content"]
