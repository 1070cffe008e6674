"""Checks of texts: each returns its text, or raises ValueError with a message that continues "the value ...". Pure.

No message contains the text, which may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sized
from typing import TypeVar

T = TypeVar("T", bound=Sized)

_TOPIC = r"(?!\.{1,2}\Z)[a-zA-Z0-9._-]+"  # org.apache.kafka.common.internals.Topic
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_BROKER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@,\[\]\"']+)(?::([0-9]{1,5}))?")

TOPIC_LENGTH = 249  # Kafka's own limit: a directory name holds the topic and its partition
SESSION_LENGTH = 1024  # as for discovered sessions: ids are part of addresses, keys and headers
NAMESPACE_LENGTH = 200  # leaves room for the longest suffix of a topic, group or transactional id
_INTERNAL_TOPICS = {"__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"}

# The bridge sends these itself; another value would break the stream, its framing or its resumption
OWN_HEADERS = {"accept", "accept-encoding", "cache-control", "connection", "content-length", "expect", "keep-alive"}
OWN_HEADERS |= {"last-event-id", "te", "trailer", "transfer-encoding", "upgrade"}


def matching(pattern: str, problem: str, longest: int | None = None) -> Callable[[str], str]:
    """A check that a whole text matches a pattern and is not too long."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(problem)
        if longest is not None and len(text) > longest:
            raise ValueError("is too long")
        return text

    return check


def refusing(*rules: tuple[str, str]) -> Callable[[str], str]:
    """A check that a text contains none of these patterns, each with its problem."""
    compiled = [(re.compile(pattern), problem) for pattern, problem in rules]

    def check(text: str) -> str:
        for pattern, problem in compiled:
            if pattern.search(text):
                raise ValueError(problem)
        return text

    return check


server_name = matching(r"[a-z0-9]+([_-][a-z0-9]+)*", "is not a server name")
property_name = matching(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*", "is not a name of a Kafka property")
namespace = matching(_TOPIC, "is not a legal prefix of a topic name", NAMESPACE_LENGTH)
instance = matching(_TOPIC, "is not a legal group.instance.id", TOPIC_LENGTH)
topic_name = matching(_TOPIC, "is not a legal topic name", TOPIC_LENGTH)

_EMPTY = (r"^\Z", "is empty")
_EDGES = (r"^\s|\s\Z", "begins or ends with a space")
_TEXT = (
    # From JSON, and from a variable that is not UTF-8
    (r"[\ud800-\udfff]", "has a character that is not UTF-8 (half of a surrogate pair)"),
    (r"[\x00-\x1f\x7f]", "has a control character"),
)
_HEADER_VALUE = ((r"[^\x20-\x7e]", "has a character that a header cannot contain"), _EDGES)

any_text = refusing(*_TEXT)
"""Printable text: no control characters, and no character that UTF-8 cannot encode."""
host = refusing(*_TEXT, (r"[\s/@\[\]\"']", "is not a host name or an IP address"))
"""A host name or an IP address to listen on."""
event_id = refusing(*_TEXT, _EDGES)
"""An event id that can be sent as Last-Event-ID."""
session_id = refusing(
    *_TEXT,
    (_EDGES[0], "has an id that begins or ends with a space"),
    (r"^\.{1,2}\Z", "has the id '.' or '..', which an address cannot contain"),
    (r"^[\"']|[\"']\Z", "has an id that begins or ends with a quote"),
    (f".{{{SESSION_LENGTH + 1}}}", f"has an id of more than {SESSION_LENGTH} characters"),
)
"""A session id: part of a record's key and of an address."""
header_value = refusing(*_HEADER_VALUE)
"""A header's value (RFC 9110, 5.5): printable ASCII, no space at either end."""
token = refusing(_EMPTY, *_HEADER_VALUE, (" ", "has a space"))
"""A bearer token (RFC 6750, 2.1, in a wide sense): a text that fits into the Authorization header."""


def topic(text: str) -> str:
    """A topic name that Kafka accepts, and not one of its internal topics."""
    if topic_name(text) in _INTERNAL_TOPICS:
        raise ValueError("is an internal topic of Kafka")
    return text


def not_empty(value: T) -> T:
    """A text or list that is not empty."""
    if not value:
        raise ValueError("is empty")
    return value


def header_name(text: str) -> str:
    """A header's field name (RFC 9110, 5.1), in small letters, that the bridge does not send itself."""
    if not _HEADER.fullmatch(text):
        raise ValueError("is not a header name")
    if text in OWN_HEADERS:
        raise ValueError("is a header that the bridge sends itself")
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


def schema_uri(text: str) -> str:
    """An absolute URI, with at most ``{event}`` in braces."""
    rest = text.replace("{event}", "")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+", rest) or re.search(r"[{}<>\"\\^`|]", rest):
        raise ValueError("is not an absolute URI")
    return text
