"""A client for Confluent Schema Registry: the optional extra ``schemaregistry`` of the Kafka client."""

from __future__ import annotations

from struct import Struct
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from bridge.errors import SettingsError, Unreachable
from bridge.settings.addresses import Address

_TIMEOUT = 5.0
_BY_ID, _BY_GUID = Struct(">bi"), b"\x01"
"""The header's first byte says what follows: 0 an id of 4 bytes, 1 a GUID of 16 (newer registries give one)."""
_NOT_FOUND = 404


class RegistryRefusal(Exception):
    """The registry answered, and did not do it; the message is one line."""


class SchemaRegistry:
    """Looks schemas up and registers them. Thread rule: one thread.

    Each method raises ``Unreachable`` when the registry does not answer, `RegistryRefusal` when it refuses.
    """

    def __init__(self, url: Address) -> None:
        """Raises ``SettingsError`` without the extra."""
        try:
            from confluent_kafka import schema_registry  # noqa: PLC0415 - its dependencies are an optional extra
        except ImportError as error:
            raise SettingsError.of(
                "schemas.registry_url", "needs more packages: pip install 'mix-bridge[schemaregistry]'"
            ) from error
        parts = urlsplit(url.get_secret_value())
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        named = {"basic.auth.user.info": login} if url.has_credentials else {}
        config = {"url": url.public, "timeout": _TIMEOUT, "max.retries": 0, **named}
        self._library: Any = schema_registry
        self._public = url.public
        self._client: Any = schema_registry.SchemaRegistryClient(config)

    def header(self, subject: str, schema: str) -> bytes | None:
        """Return the header's value for a JSON Schema that is registered under the subject; None if it is not."""
        try:
            return self._ask(self._client.lookup_schema, subject, schema)
        except _NotFound:
            return None

    def register(self, subject: str, schema: str) -> bytes:
        """Register a JSON Schema, again without effect, and return the header's value."""
        try:
            return self._ask(self._client.register_schema_full_response, subject, schema)
        except _NotFound as error:
            raise RegistryRefusal(str(error)) from error

    def _ask(self, request: Any, subject: str, schema: str) -> bytes:  # noqa: ANN401 - the client has no types here
        try:
            found = request(subject, self._library.Schema(schema, "JSON"))
        except self._library.SchemaRegistryError as error:
            text = f"{self._public}: {subject}: {error.error_message} ({error.http_status_code})"
            raise (_NotFound if error.http_status_code == _NOT_FOUND else RegistryRefusal)(text) from error
        except Exception as error:
            raise Unreachable(f"the schema registry {self._public} does not answer: {type(error).__name__}") from error
        if found.guid:
            return _BY_GUID + UUID(found.guid).bytes
        return _BY_ID.pack(0, found.schema_id)


class _NotFound(RegistryRefusal):
    """There is no such subject or schema."""
