"""The wheel: what is in it, and that it runs where nothing but it and its locked requirements are installed."""

from __future__ import annotations

import shlex
import sys
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import bridge
from tests.packaging.commands import run
from tests.packaging.locks import roots
from tests.support.repository import REPOSITORY

# The first run fetches every requirement (30 MB). Later runs find them in pip's cache.
pytestmark = pytest.mark.timeout(400)

METADATA = f"mix_bridge-{bridge.__version__}.dist-info"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout with the command of `make wheel`, in another folder than dist/."""
    folder = tmp_path_factory.mktemp("wheel")
    recipe = run("make", "--dry-run", "wheel", f"VENV={sys.prefix}", cwd=REPOSITORY).splitlines()
    run(*shlex.split(recipe[-1]), "--outdir", folder, cwd=REPOSITORY)
    return next(folder.glob("*.whl"))


@pytest.fixture
def archive(wheel: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(wheel) as opened:
        yield opened


@pytest.fixture
def metadata(archive: zipfile.ZipFile) -> Message:
    return Parser().parsestr(archive.read(f"{METADATA}/METADATA").decode())


def test_it_holds_the_package_with_its_data_and_nothing_else(archive: zipfile.ZipFile) -> None:
    """All files of the package; no tests, no other files of the repository."""
    names = {name for name in archive.namelist() if not name.endswith("/")}
    package = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / "bridge").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if not name.startswith(METADATA)} == package
    assert "bridge/py.typed" in package  # type checkers read the annotations of the package only with it (PEP 561)


def test_it_carries_the_licence(archive: zipfile.ZipFile, metadata: Message) -> None:
    assert archive.read(f"{METADATA}/licenses/LICENSE") == (REPOSITORY / "LICENSE").read_bytes()
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]


def test_its_metadata_describes_it(metadata: Message) -> None:
    """What a package index shows, and what pip resolves."""
    assert metadata["Name"] == "mix-bridge"
    assert metadata["Version"] == bridge.__version__
    assert metadata["Author"] == "mix-bridge contributors"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Keywords"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    required = {Requirement(each) for each in metadata.get_all("Requires-Dist", [])}
    optional = {each for each in required if "extra ==" in str(each.marker)}
    assert required - optional == set(roots("requirements.txt"))
    assert metadata.get_all("Provides-Extra") == ["schemaregistry"]
    assert [(each.name, each.extras) for each in optional] == [("confluent-kafka", {"schemaregistry"})]


def test_its_classifiers_say_where_it_runs(metadata: Message) -> None:
    """The build backend refuses a classifier that does not exist; a licence classifier contradicts PEP 639."""
    classifiers = metadata.get_all("Classifier", [])
    assert {
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Typing :: Typed",
    } <= set(classifiers)
    assert not [each for each in classifiers if each.startswith("License ::")]


def test_it_installs_one_command(archive: zipfile.ZipFile) -> None:
    entry_points = ConfigParser()
    entry_points.read_string(archive.read(f"{METADATA}/entry_points.txt").decode())
    assert {section: dict(entry_points[section]) for section in entry_points.sections()} == {
        "console_scripts": {"mix-bridge": "bridge.cli:main"}
    }


def test_python_m_bridge_is_the_command() -> None:
    """From a checkout; the next test does the same with the installed wheel."""
    assert run(sys.executable, "-m", "bridge", "--version", cwd=REPOSITORY) == f"mix-bridge {bridge.__version__}\n"


@pytest.mark.usefixtures("registry")
def test_it_runs_with_nothing_installed_but_its_locked_requirements(wheel: Path, tmp_path: Path) -> None:
    """A fresh environment, requirements by hash, the wheel without looking for more: the commands work."""
    programs = tmp_path / "venv" / "bin"
    python = programs / "python"
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    pip = (sys.executable, "-m", "pip", "--python", python, "--quiet")
    # Byte code of everything costs half of the time; the commands below make what they need.
    install = (*pip, "install", "--no-compile", "--no-deps")
    run(*install, "--require-hashes", "-r", REPOSITORY / "requirements.txt", cwd=tmp_path)
    run(*install, "--no-index", wheel, cwd=tmp_path)
    run(*pip, "check", cwd=tmp_path)
    version = f"mix-bridge {bridge.__version__}\n"
    assert run(programs / "mix-bridge", "--version", cwd=tmp_path) == version
    assert run(python, "-m", "bridge", "--version", cwd=tmp_path) == version
    assert "namespace" in run(programs / "mix-bridge", "settings", "show", cwd=tmp_path)
