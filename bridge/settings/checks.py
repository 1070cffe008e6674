"""What a text must look like: each check raises ValueError that ends a sentence beginning with the value.

Pure; no message contains the value.
"""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # from JSON, and from bytes of a variable that are no UTF-8
_TOPIC = re.compile(r"[a-zA-Z0-9._-]+")
_SERVER = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_PROPERTY = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_BROKER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@,\[\]]+)(?::([0-9]{1,5}))?")

TOPIC_LENGTH = 249  # Kafka's own limit: a directory name holds the topic and its partition
SESSION_LENGTH = 1024  # as for discovered ones: it becomes part of addresses, keys and headers, limited to a few KiB
NAMESPACE_LENGTH = 200  # leaves room for the longest suffix of a topic, group or transactional id
_INTERNAL_TOPICS = {"__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"}

# The bridge sends these itself; another value would break the stream, its framing or its resumption
OWN_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "cache-control",
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "last-event-id",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def any_text(text: str) -> None:
    """Printable text: no control characters, and something UTF-8 can carry."""
    if _SURROGATE.search(text):
        raise ValueError("has a character that is not UTF-8 (half of a surrogate pair)")
    if _CONTROL.search(text):
        raise ValueError("has a control character")


def session_id(text: str) -> None:
    """A session id: part of a record's key and of an address."""
    any_text(text)
    if text != text.strip():
        raise ValueError("has an id that begins or ends with a blank")
    if text in {".", ".."}:
        raise ValueError("has the id '.' or '..', which an address cannot carry")
    if len(text) > SESSION_LENGTH:
        raise ValueError(f"has an id of more than {SESSION_LENGTH} characters")


def topic(text: str) -> None:
    """A topic name Kafka accepts (org.apache.kafka.common.internals.Topic)."""
    if not _TOPIC.fullmatch(text) or text in {".", ".."}:
        raise ValueError("is not a legal topic name")
    if len(text) > TOPIC_LENGTH:
        raise ValueError("is too long")
    if text in _INTERNAL_TOPICS:
        raise ValueError("is a topic of Kafka's own")


def namespace(text: str) -> None:
    """A prefix that keeps the names made of it legal."""
    if not _TOPIC.fullmatch(text) or text in {".", ".."}:
        raise ValueError("is not a legal prefix of a topic name")
    if len(text) > NAMESPACE_LENGTH:
        raise ValueError("is too long")


def instance(text: str) -> None:
    """A name Kafka accepts as ``group.instance.id``: the rules of topic names, without names of its own."""
    if not _TOPIC.fullmatch(text) or text in {".", ".."}:
        raise ValueError("is not a legal group.instance.id")
    if len(text) > TOPIC_LENGTH:
        raise ValueError("is too long")


def server_name(text: str) -> None:
    """The name of a server: part of keys, of sources and of variable names."""
    if not _SERVER.fullmatch(text):
        raise ValueError("is not a server name")


def header_name(text: str) -> None:
    """A header's field name (RFC 9110, 5.1), in small letters, that the bridge does not send itself."""
    if not _HEADER.fullmatch(text):
        raise ValueError("is not a header name")
    if text in OWN_HEADERS:
        raise ValueError("is a header that the bridge sends itself")


def header_value(text: str) -> None:
    """A header's value (RFC 9110, 5.5): printable ASCII, no blank at either end."""
    if not text.isascii() or _CONTROL.search(text):
        raise ValueError("has a character that a header cannot carry")
    if text != text.strip():
        raise ValueError("begins or ends with a blank")


def token(text: str) -> None:
    """A bearer token (RFC 6750, 2.1, taken widely): what fits into the Authorization header."""
    header_value(text)
    if " " in text:
        raise ValueError("has a blank")


def event_id(text: str) -> None:
    """An event id that can be sent as Last-Event-ID."""
    any_text(text)
    if text != text.strip():
        raise ValueError("begins or ends with a blank")


def property_name(text: str) -> None:
    """The name of a property of librdkafka or of a topic."""
    if not _PROPERTY.fullmatch(text):
        raise ValueError("is not a name of a Kafka property")


def stream_path(text: str) -> None:
    """The path of a stream: one place for the session id at most, and nothing that looks like another place."""
    if not text.startswith("/") or text.startswith("//"):
        raise ValueError("does not begin with one /")
    if text.count("{session}") > 1:
        raise ValueError("has {session} more than once")
    rest = text.replace("{session}", "")
    if re.search(r"[^\x21-\x7e]|[{}#]", rest):
        raise ValueError("has a character that does not belong there")


def broker(text: str) -> None:
    """One ``host[:port]`` of the bootstrap list."""
    any_text(text)
    match = _BROKER.fullmatch(text)
    if match is None:
        raise ValueError("has an item that is not host:port")
    if match[2] and not 0 < int(match[2]) < 2**16:
        raise ValueError("has a port out of range")


def host(text: str) -> None:
    """A host name or an IP address to listen on."""
    any_text(text)
    if re.search(r"[\s/@\[\]\x00-\x1f\x7f]", text):
        raise ValueError("is not a host name or an IP address")


def pattern(text: str) -> None:
    """A pattern of SSE event names."""
    any_text(text)


def config_value(text: str) -> None:
    """A topic setting's value: Kafka says whether it is right."""
    any_text(text)
