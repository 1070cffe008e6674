"""The image is built from the same locks, with the same options, as every other environment."""

from __future__ import annotations

import re
import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path

from tests.packaging.commands import run
from tests.packaging.locks import read
from tests.support.repository import REPOSITORY

_INSTALL = re.compile(r"pip (?:\S+ )*?install (?P<options>.*?)(?P<locks>(?: *-r requirements\S*\.txt)+)")


def _installs(commands: str) -> list[tuple[set[str], set[str]]]:
    """Return the options and the lock files of each installation of lock files."""
    return [
        (set(re.findall(r"-\S+(?: :all:)?", found["options"])), set(re.findall(r"requirements\S*", found["locks"])))
        for found in _INSTALL.finditer(commands)
    ]


def test_it_installs_the_locks_as_the_makefile_does(tmp_path: Path) -> None:
    """The options are those that `make` would run; --no-cache-dir only keeps the image small."""
    recipe = run("make", "--dry-run", f"VENV={tmp_path}", tmp_path / ".development", cwd=REPOSITORY)
    (options, locks), *others = _installs(recipe)
    assert "--require-hashes" in options
    assert all(each == options for each, _ in others)

    image = _installs(read("Dockerfile"))
    assert {lock for _, found in image for lock in found} == locks
    assert all(each - {"--no-cache-dir"} == options for each, _ in image)


def test_it_checks_every_environment_that_it_makes() -> None:
    """--no-deps hides an incomplete lock; `pip check` finds it."""
    interpreters = set(re.findall(r"(\S+) -m pip install", read("Dockerfile")))
    assert interpreters == set(re.findall(r"(\S+) -m pip check", read("Dockerfile")))


def test_its_build_context_is_enough_for_the_wheel(tmp_path: Path) -> None:
    """What .dockerignore lets through and COPY names builds a wheel with the licence in it."""
    allowed = re.findall(r"(?m)^!(\S+)$", read(".dockerignore"))
    copied = [
        name for line in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", read("Dockerfile")) for name in line.split()
    ]
    assert all(any(fnmatch(name, pattern) for pattern in allowed) for name in copied)
    for name in copied:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    options = ("--no-deps", "--no-build-isolation", "--no-index")
    run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", tmp_path / "wheels", ".", cwd=tmp_path)
    assert list((tmp_path / "wheels").glob("mix_bridge-*.whl"))
