"""The exceptions of mix-bridge, split by what the one who catches them does.

BridgeError
├── SettingsError     fix the settings, then start again: exit code 78
├── Unreachable       Kafka, or every server, out of reach for the start budget: exit code 69
├── FatalFault        cannot continue, a restart helps: exit code 75
├── OtherCluster      as FatalFault, and nothing in memory may be delivered any more: exit code 75
└── Stopped           not a fault: somebody asked this wait to end

Errors of libraries are translated into these, ``from`` the original, at the module that calls the library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_OK = 0
EXIT_FOUND = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 69
EXIT_BUG = 70
EXIT_FATAL = 75
EXIT_SETTINGS = 78


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong setting: its key as in the reference, and one line that says what is wrong and what is allowed."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


class BridgeError(Exception):
    """Every error that mix-bridge raises on purpose."""

    exit_code = EXIT_BUG


class SettingsError(BridgeError):
    """The settings, or what they point at (a topic, a file), must be changed before a start can succeed."""

    exit_code = EXIT_SETTINGS

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = tuple(mistakes)

    @classmethod
    def of(cls, key: str, message: str) -> SettingsError:
        """One mistake as an error."""
        return cls([Mistake(key, message)])


class Unreachable(BridgeError):
    """Kafka, or every server, did not answer within the start budget."""

    exit_code = EXIT_UNREACHABLE


class FatalFault(BridgeError):
    """Going on is impossible here, a new start may succeed."""

    exit_code = EXIT_FATAL


class OtherCluster(BridgeError):
    """Another cluster answers: what is in memory belongs to the former one."""

    exit_code = EXIT_FATAL


class Stopped(BridgeError):
    """A wait ended because a stop was asked for."""

    exit_code = EXIT_OK
