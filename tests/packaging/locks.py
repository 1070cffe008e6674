"""Read the lock files, and find what they lack."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import requires as requirements_of_installed
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.repository import REPOSITORY

Environment = Mapping[str, str]
Requires = Callable[[str], Iterable[Requirement]]

LOCKS = ("requirements.txt", "requirements-build.txt", "requirements-dev.txt")
PYTHONS = ("3.11", "3.12", "3.13")

_ENTRY = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[\w.+]+)( ; (?P<marker>[^\\]+?))?(?P<hashes>( --hash=\S+)*)")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One locked distribution."""

    requirement: Requirement
    version: Version
    hashes: tuple[str, ...]


def read(name: str) -> str:
    """Return the text of a file of the repository."""
    return (REPOSITORY / name).read_text()


def parse(text: str) -> list[Entry]:
    """Parse a lock file. A line that is neither an entry, its hashes nor a comment raises ValueError."""
    lines = re.sub(r" \\\n +", " ", text).splitlines()
    return [_entry(line) for line in lines if line and not line.lstrip().startswith("#")]


def _entry(line: str) -> Entry:
    if (found := _ENTRY.fullmatch(line)) is None:
        raise ValueError(f"not an entry of a lock file: {line}")
    hashes = tuple(found["hashes"].split())
    if not all(_HASH.fullmatch(each) for each in hashes):
        raise ValueError(f"not a SHA-256 hash: {line}")
    requirement = Requirement(line.removesuffix(found["hashes"]))
    return Entry(requirement, Version(found["version"]), hashes)


def locked(entries: Iterable[Entry], environment: Environment) -> dict[str, Version]:
    """Return the names and versions that pip installs from a lock file in this environment."""
    return {each.requirement.name: each.version for each in entries if applies(each.requirement, environment)}


def linux(python: str) -> Environment:
    """Return the environment markers of CPython of this version on Linux; the others are the running machine's."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }


def applies(requirement: Requirement, environment: Environment, extra: str = "") -> bool:
    """Whether the marker of a requirement is true, when this extra of the requiring distribution is installed."""
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra})


def installed(name: str) -> list[Requirement]:
    """Return the requirements of a distribution, from its metadata in the running environment."""
    return [Requirement(each) for each in requirements_of_installed(name) or ()]


def gaps(
    versions: Mapping[str, Version], roots: Iterable[Requirement], requires: Requires, environment: Environment
) -> list[str]:
    """Return a line for each requirement, of the roots or of a locked distribution, that the lock does not satisfy."""
    found: set[str] = set()
    visited: set[tuple[str, str]] = set()
    waiting = [("the project", root) for root in roots if applies(root, environment)]
    waiting += [("the lock", Requirement(name)) for name in versions]
    while waiting:
        source, requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        version = versions.get(name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            found.add(f"{source} requires {requirement}; locked: {version or 'nothing'}")
            continue
        for extra in {"", *requirement.extras} - {seen for owner, seen in visited if owner == name}:
            visited.add((name, extra))
            waiting += [(name, each) for each in requires(name) if applies(each, environment, extra)]
    return sorted(found)


def dependencies() -> list[Requirement]:
    """Return what a user's pip resolves: the dependencies of the wheel, and the build backend of a source tree."""
    settings = _settings()
    return [Requirement(each) for each in (*settings["project"]["dependencies"], *settings["build-system"]["requires"])]


def roots(lock: str) -> list[Requirement]:
    """Return the requirements in pyproject.toml that a lock file is made from."""
    settings = _settings()
    runtime = settings["project"]["dependencies"]
    texts = {
        "requirements.txt": runtime,
        "requirements-build.txt": [*settings["build-system"]["requires"], *_group("build")],
        "requirements-dev.txt": [*runtime, *_group("dev")],
    }
    return [Requirement(each) for each in texts[lock]]


@cache
def _settings() -> dict[str, Any]:
    return tomllib.loads(read("pyproject.toml"))


def _group(name: str) -> Iterator[str]:
    """Yield the requirements of a dependency group and of the groups that it includes (PEP 735)."""
    for each in _settings()["dependency-groups"][name]:
        if isinstance(each, str):
            yield each
        else:
            yield from _group(each["include-group"])
