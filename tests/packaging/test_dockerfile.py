"""What the image promises, read from its Dockerfile."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from tests.support.repository import REPOSITORY


class Instruction(NamedTuple):
    """One instruction, continued lines joined."""

    name: str
    value: str


def instructions() -> list[Instruction]:
    """The Dockerfile without comments."""
    lines = [line for line in (REPOSITORY / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def stages() -> list[list[Instruction]]:
    """The instructions of each stage, FROM first."""
    found: list[list[Instruction]] = []
    for instruction in instructions():
        if instruction.name == "FROM":
            found.append([])
        found[-1].append(instruction)
    return found


def last(name: str) -> str:
    """The value of an instruction that the final stage must have."""
    return [instruction.value for instruction in stages()[-1] if instruction.name == name][-1]


def test_the_final_stage_is_a_slim_python_of_a_fixed_version_without_build_tools() -> None:
    """It gets the finished environment from the stage before, and runs nothing while it is built."""
    build, final = stages()
    image = re.compile(r"python:3\.\d+-slim-\w+")
    assert image.match(build[0].value)
    assert image.fullmatch(final[0].value)
    assert build[0].value.split()[0] == final[0].value  # the environment's interpreter is at the same path in both
    assert [instruction.value for instruction in final if instruction.name == "COPY"] == [
        "--from=build /opt/mix-bridge /opt/mix-bridge"
    ]
    assert not [instruction for instruction in final if instruction.name in {"RUN", "ADD"}]


def test_it_runs_as_a_numeric_user_that_is_not_root() -> None:
    """Kubernetes can prove ``runAsNonRoot`` only for numbers."""
    user, group = last("USER").split(":")
    assert int(user) >= 10000
    assert int(group) >= 10000


def test_the_daemon_is_started_in_exec_form() -> None:
    """A shell in between would keep SIGTERM to itself."""
    assert json.loads(last("ENTRYPOINT")) == ["/opt/mix-bridge/bin/mix-bridge"]
    assert json.loads(last("CMD")) == ["run"]


def test_http_listens_to_the_outside() -> None:
    """The one setting that an image must have otherwise; its port is exposed."""
    assert "MIX_BRIDGE_HTTP__HOST=::" in last("ENV").split()
    assert last("EXPOSE") == "8090"


def test_everything_installed_is_locked_or_our_own_wheel() -> None:
    """What comes from an index has its hash checked, the rest comes from no index."""
    installs = [
        command
        for instruction in instructions()
        if instruction.name == "RUN"
        for command in instruction.value.split("&&")
        if re.search(r"pip (install|wheel)", command)
    ]
    assert len(installs) == 4
    for command in installs:
        assert "--require-hashes" in command or "--no-deps" in command


def test_nothing_but_the_parts_of_the_wheel_reaches_the_build() -> None:
    """Each file that is copied exists and is let through; all others are not sent at all."""
    ignored = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] not in {"", "#"}]
    assert ignored[0] == "*"
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source for instruction in stages()[0] if instruction.name == "COPY" for source in instruction.value.split()[:-1]
    }
    assert copied == let_through
    for source in copied:
        assert (REPOSITORY / source).exists()
