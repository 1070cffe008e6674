"""What a reload changes in a running process: some keys take effect, the others need a restart. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Final

from pydantic import BaseModel

from bridge.settings.catalogue import Path, dotted, place_at
from bridge.settings.describe import base_type, is_secret
from bridge.settings.loading import Loaded
from bridge.settings.model import Settings
from bridge.settings.rules import broken_rules
from bridge.settings.show import values

_IDENTITIES: Final = {
    "kafka": ("bootstrap_servers", "security_protocol", "sasl_mechanism", "sasl_username"),
    "servers": ("url", "proxy"),
}
"""Keys that name the peer and the user of the credentials of their table. While one of them waits for a restart, the
credentials wait too: a new password must not be sent for the old user, or a token to the old server."""
_HTTP_TLS: Final = frozenset({("http", "cert_file"), ("http", "key_file")})


class _Absent:
    """No value: the key is in only one of two trees."""


_ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True)
class Reload:
    """The decision about two loadings of the settings."""

    loaded: Loaded
    """What the process uses from now on: the old settings, with what takes effect of the new ones."""
    applied: tuple[str, ...]
    """The keys that take effect: log.level, secrets, files of secrets and certificates."""
    needs_restart: tuple[str, ...]
    """All other keys that differ. A server that is added or removed is one key."""
    waiting: frozenset[Path]
    """The tables whose credentials wait for a restart: their files must not be looked at meanwhile."""


def decide(old: Loaded, new: Loaded) -> Reload:
    """Compare what the process uses with what was loaded; each of them is valid, and so is the result."""
    before, after = dict(_by_path(old.settings)), dict(_by_path(new.settings))
    changed = {path for path in before.keys() | after.keys() if before.get(path, _ABSENT) != after.get(path, _ABSENT)}
    changed |= {path for path in new.contents if path in old.contents and new.contents[path] != old.contents[path]}
    hot = {path for path in changed if _takes_effect(path, before, after)}
    waiting = {table_of(path) for path in changed - hot if path[-1] in _IDENTITIES.get(path[0], ())}
    while True:
        applied = {path for path in hot if table_of(path) not in waiting}
        settings = _with(old.settings, {path: after.get(path, _ABSENT) for path in applied}, before)
        broken = {table_of(tuple(each.key.split("."))) for each in broken_rules(settings, set())}
        if not broken - waiting:
            break
        waiting |= broken
    present = {**new.contents, **{path: each for path, each in old.contents.items() if path not in applied}}
    contents = {path: content for path, content in present.items() if _is_named(settings, path)}
    secret_files = {path: file for path, file in new.secret_files.items() if _is_named(settings, path)}
    loaded = Loaded(settings, new.origins, contents, secret_files)
    return Reload(loaded, _names(applied), _names(_whole(changed - applied, old, new)), frozenset(waiting))


def _by_path(settings: Settings) -> Iterator[tuple[Path, Any]]:
    yield from ((path, value) for path, _, value in values(settings))


def _takes_effect(path: Path, before: Mapping[Path, Any], after: Mapping[Path, Any]) -> bool:
    if path[0] == "servers" and (("servers", path[1], "url") in before) != (("servers", path[1], "url") in after):
        return False
    if path in _HTTP_TLS and (before.get(("http", "cert_file")) is None) != (after.get(("http", "cert_file")) is None):
        return False  # the listening socket speaks TLS, or does not
    annotation = place_at(path).annotation
    return path == ("log", "level") or is_secret(annotation) or base_type(annotation) is FilePath


def table_of(path: Path) -> Path:
    """The table whose credentials belong together."""
    return path[:2] if path[0] == "servers" else path[:1]


def _whole(paths: Iterable[Path], old: Loaded, new: Loaded) -> set[Path]:
    """The paths, a server that is added or removed as one."""
    both = old.settings.servers.keys() & new.settings.servers.keys()
    return {path[:2] if path[0] == "servers" and path[1] not in both else path for path in paths}


def _names(paths: Iterable[Path]) -> tuple[str, ...]:
    """The keys; of a secret and the file that holds it only the file's."""
    found = {dotted(path) for path in paths}
    return tuple(sorted(name for name in found if f"{name}_file" not in found))


def _is_named(settings: Settings, path: Path) -> bool:
    node: Any = settings
    for segment in path:
        node = node.get(segment) if isinstance(node, dict) else getattr(node, segment, None)
    return node is not None


def _with(settings: Settings, changes: Mapping[Path, Any], before: Mapping[Path, Any]) -> Settings:
    for path, value in changes.items():
        # The contents of a file changed, and the tree did not: a server's token, a certificate.
        if value != before.get(path, _ABSENT):
            settings = replaced(settings, path, value)
    return settings


def replaced(node: Any, path: Path, value: object) -> Any:  # noqa: ANN401 - a table of the tree
    """The tree with another value at a path."""
    head, rest = path[0], path[1:]
    if isinstance(node, BaseModel):
        inner = replaced(getattr(node, head), rest, value) if rest else value
        return node.model_copy(update={head: inner})
    if rest:
        return {**node, head: replaced(node[head], rest, value)}
    kept = {name: each for name, each in node.items() if name != head}
    return kept if isinstance(value, _Absent) else {**kept, head: value}
