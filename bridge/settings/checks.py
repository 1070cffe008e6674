"""Checks of texts: each returns its text, or raises ValueError with a message that continues "the value ...". Pure.

No message contains the text, which may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Sized
from typing import TypeVar

T = TypeVar("T", bound=Sized)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # from JSON, and from a variable that is not UTF-8
_TOPIC = re.compile(r"[a-zA-Z0-9._-]+")
_SERVER = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_PROPERTY = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_BROKER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@,\[\]]+)(?::([0-9]{1,5}))?")

TOPIC_LENGTH = 249  # Kafka's own limit: a directory name holds the topic and its partition
SESSION_LENGTH = (
    1024  # as for discovered sessions: it is part of addresses, keys and headers, which are limited to a few KiB
)
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


def not_empty(value: T) -> T:
    """A text or list that is not empty."""
    if not value:
        raise ValueError("is empty")
    return value


def any_text(text: str) -> str:
    """Printable text: no control characters, and no character that UTF-8 cannot encode."""
    if _SURROGATE.search(text):
        raise ValueError("has a character that is not UTF-8 (half of a surrogate pair)")
    if _CONTROL.search(text):
        raise ValueError("has a control character")
    return text


def session_id(text: str) -> str:
    """A session id: part of a record's key and of an address."""
    any_text(text)
    if text != text.strip():
        raise ValueError("has an id that begins or ends with a space")
    if text in {".", ".."}:
        raise ValueError("has the id '.' or '..', which an address cannot contain")
    if len(text) > SESSION_LENGTH:
        raise ValueError(f"has an id of more than {SESSION_LENGTH} characters")
    return text


def topic(text: str) -> str:
    """A topic name Kafka accepts (org.apache.kafka.common.internals.Topic)."""
    if not _TOPIC.fullmatch(text) or text in {".", ".."}:
        raise ValueError("is not a legal topic name")
    if len(text) > TOPIC_LENGTH:
        raise ValueError("is too long")
    if text in _INTERNAL_TOPICS:
        raise ValueError("is an internal topic of Kafka")
    return text


def namespace(text: str) -> str:
    """A prefix that keeps the names made of it legal."""
    if not _TOPIC.fullmatch(text) or text in {".", ".."}:
        raise ValueError("is not a legal prefix of a topic name")
    if len(text) > NAMESPACE_LENGTH:
        raise ValueError("is too long")
    return text


def instance(text: str) -> str:
    """A name Kafka accepts as ``group.instance.id``: the rules of topic names, without its internal names."""
    if not _TOPIC.fullmatch(text) or text in {".", ".."}:
        raise ValueError("is not a legal group.instance.id")
    if len(text) > TOPIC_LENGTH:
        raise ValueError("is too long")
    return text


def server_name(text: str) -> str:
    """The name of a server: part of keys, of sources and of variable names."""
    if not _SERVER.fullmatch(text):
        raise ValueError("is not a server name")
    return text


def header_name(text: str) -> str:
    """A header's field name (RFC 9110, 5.1), in small letters, that the bridge does not send itself."""
    if not _HEADER.fullmatch(text):
        raise ValueError("is not a header name")
    if text in OWN_HEADERS:
        raise ValueError("is a header that the bridge sends itself")
    return text


def header_value(text: str) -> str:
    """A header's value (RFC 9110, 5.5): printable ASCII, no space at either end."""
    if not text.isascii() or _CONTROL.search(text):
        raise ValueError("has a character that a header cannot contain")
    if text != text.strip():
        raise ValueError("begins or ends with a space")
    return text


def token(text: str) -> str:
    """A bearer token (RFC 6750, 2.1, in a wide sense): a text that fits into the Authorization header."""
    header_value(text)
    if " " in text:
        raise ValueError("has a space")
    return text


def event_id(text: str) -> str:
    """An event id that can be sent as Last-Event-ID."""
    any_text(text)
    if text != text.strip():
        raise ValueError("begins or ends with a space")
    return text


def property_name(text: str) -> str:
    """The name of a property of librdkafka or of a topic."""
    if not _PROPERTY.fullmatch(text):
        raise ValueError("is not a name of a Kafka property")
    return text


def stream_path(text: str) -> str:
    """The path of a stream: one place for the session id at most, and no other braces."""
    if not text.startswith("/") or text.startswith("//"):
        raise ValueError("does not begin with one /")
    if text.count("{session}") > 1:
        raise ValueError("has {session} more than once")
    rest = text.replace("{session}", "")
    if re.search(r"[^\x21-\x7e]|[{}#]", rest):
        raise ValueError("has a character that is not allowed in a path")
    return text


def broker(text: str) -> str:
    """One ``host[:port]`` of the bootstrap list."""
    any_text(text)
    match = _BROKER.fullmatch(text)
    if match is None:
        raise ValueError("has an item that is not host:port")
    if match[2] and not 0 < int(match[2]) < 2**16:
        raise ValueError("has a port out of range")
    return text


def host(text: str) -> str:
    """A host name or an IP address to listen on."""
    any_text(text)
    if re.search(r"[\s/@\[\]\x00-\x1f\x7f]", text):
        raise ValueError("is not a host name or an IP address")
    return text
