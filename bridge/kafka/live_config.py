"""The configuration of Kafka clients whose passwords and certificates may change while the process runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol


class Authenticated(Protocol):
    """A Kafka client of the process."""

    def set_credentials(self, username: str, password: str) -> None:
        """Use these the next time that the client authenticates to a broker; connections are not cut. Any thread."""


class LiveConfig(Mapping[str, Any]):
    """The configuration of one kind of client: each look gives the present values. Any thread."""

    def __init__(
        self,
        now: Callable[[], dict[str, Any]],
        follow: Callable[[Authenticated, Mapping[str, Any]], None],
        own: Mapping[str, Any],
    ) -> None:
        """``now`` returns what all clients have in common; ``follow`` gives a client later logins."""
        self._now = now
        self.follow = follow
        self._own = own

    def copy(self) -> dict[str, Any]:
        """All values of one moment."""
        return self._now() | dict(self._own)

    def __ror__(self, defaults: Mapping[str, Any]) -> LiveConfig:
        """The same with defaults for properties that it has not."""
        return LiveConfig(lambda: {**defaults, **self._now()}, self.follow, self._own)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - of a property
        return self.copy()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.copy())

    def __len__(self) -> int:
        return len(self.copy())


def follow(config: Mapping[str, Any], client: Authenticated, made_with: Mapping[str, Any]) -> None:
    """Give a client later logins, if its configuration has any."""
    if isinstance(config, LiveConfig):
        config.follow(client, made_with)


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of one moment: a client must not get an old certificate with a new key."""
    return config.copy() if isinstance(config, LiveConfig) else dict(config)
