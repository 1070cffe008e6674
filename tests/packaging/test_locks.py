"""Each lock file is complete, carries hashes, and fits pyproject.toml."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import Specifier, SpecifierSet
from packaging.version import Version

from tests.packaging.locks import (
    LOCKS,
    PYTHONS,
    dependencies,
    gaps,
    installed,
    linux,
    locked,
    parse,
    read,
    roots,
)

_TEXT = """\
one==1.0 ; sys_platform == 'linux' \\
    --hash=sha256:{0} \\
    --hash=sha256:{0}
    # via
    #   two
two==2.0rc1 \\
    --hash=sha256:{0}
""".format("a" * 64)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_of_every_locked_distribution_is_locked(lock: str, python: str) -> None:
    """What --no-deps leaves out is in the lock file, in a version that the requirement allows."""
    environment = linux(python)
    assert not gaps(locked(parse(read(lock)), environment), roots(lock), installed, environment)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_has_a_hash(lock: str) -> None:
    """Without one, pip refuses the whole file in hash mode."""
    entries = parse(read(lock))
    assert entries
    assert not [str(each.requirement) for each in entries if not each.hashes]


@pytest.mark.parametrize("lock", LOCKS)
def test_no_registry_is_named(lock: str) -> None:
    """The files install from the registry that the user has configured. `parse` refuses every option but --hash."""
    assert parse(read(lock))
    assert "://" not in read(lock)


@pytest.mark.parametrize("python", PYTHONS)
def test_all_locks_agree(python: str) -> None:
    """They are installed into one environment, one after the other."""
    versions: dict[str, set[Version]] = {}
    for lock in LOCKS:
        for name, version in locked(parse(read(lock)), linux(python)).items():
            versions.setdefault(name, set()).add(version)
    assert not {name: found for name, found in versions.items() if len(found) > 1}


@pytest.mark.parametrize("dependency", dependencies(), ids=lambda each: str(each.name))
def test_each_dependency_ends_below_the_next_major_version(dependency: Requirement) -> None:
    """A new major version may break a fresh installation of the wheel, which knows no lock file."""
    lock = "requirements.txt" if dependency in roots("requirements.txt") else "requirements-build.txt"
    version = locked(parse(read(lock)), linux("3.11"))[dependency.name]
    assert dependency.specifier.contains(version)
    bounds = {Specifier(f"<{version.major + 1}"), Specifier(f"=={version}")}
    assert bounds & set(dependency.specifier), f"{dependency} has none of the bounds {SpecifierSet(bounds)}"


# The checks themselves.


def test_a_missing_distribution_is_found() -> None:
    """One entry is removed from the real lock file; each distribution that needs it is named."""
    planted = re.sub(r"(?m)^idna==.*\n( .*\n)+", "", read("requirements.txt"))
    environment = linux("3.11")
    found = gaps(locked(parse(planted), environment), roots("requirements.txt"), installed, environment)
    assert [line.split(" requires idna")[0] for line in found] == ["anyio", "requests"]
    assert all(line.endswith("locked: nothing") for line in found)


def test_a_missing_direct_dependency_is_found() -> None:
    assert _gaps({}, "one>=1") == ["the project requires one>=1; locked: nothing"]


def test_a_version_outside_the_requirement_is_found() -> None:
    assert _gaps({"one": "1", "two": "2"}, "one", {"one": ["two<2"]}) == ["one requires two<2; locked: 2"]


def test_an_extra_that_is_asked_for_anywhere_counts() -> None:
    """`coverage[toml]` of pytest-cov asks for more than `coverage` alone, also when that was seen first."""
    requires = {"one": ["two[fast]"], "two": ["three ; extra == 'fast'"]}
    versions = {"one": "1", "two": "2"}
    assert _gaps(versions, "one", requires) == ['two requires three; extra == "fast"; locked: nothing']
    assert not _gaps({"two": "2"}, "two", requires)


def test_markers_are_evaluated_for_the_python_in_question() -> None:
    """A requirement of Python 3.13 alone is found on any Python that runs this test."""
    requires = {"one": ["two ; python_version >= '3.13'", "three ; sys_platform == 'win32'"]}
    assert not _gaps({"one": "1"}, "one", requires, python="3.12")
    assert len(_gaps({"one": "1"}, "one", requires, python="3.13")) == 1


def test_a_lock_is_parsed() -> None:
    one, two = parse(_TEXT)
    assert (one.requirement.name, one.version, len(one.hashes)) == ("one", Version("1.0"), 2)
    assert (two.requirement.name, two.version, len(two.hashes)) == ("two", Version("2.0rc1"), 1)
    assert str(one.requirement.marker) == 'sys_platform == "linux"'


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://registry.example/simple",
        "--extra-index-url=https://registry.example/simple",
        "--find-links wheels",
        "-r other.txt",
        "one>=1.0",
        "one @ https://registry.example/one-1.0-py3-none-any.whl",
        "one==1.0 --hash=md5:" + "a" * 32,
    ],
)
def test_everything_but_pinned_entries_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"^not a"):
        parse(f"{_TEXT}{line}\n")


def test_an_entry_without_a_hash_is_parsed_and_so_found() -> None:
    assert [each.hashes for each in parse("one==1.0\n")] == [()]


def _gaps(
    versions: dict[str, str], root: str, requires: dict[str, list[str]] | None = None, python: str = "3.11"
) -> list[str]:

    def table(name: str) -> list[Requirement]:
        return [Requirement(each) for each in (requires or {}).get(name, [])]

    found = {name: Version(version) for name, version in versions.items()}
    return gaps(found, [Requirement(root)], table, linux(python))
