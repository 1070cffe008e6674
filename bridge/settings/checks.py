"""Checks of texts: each returns its text, or raises ValueError with a message that continues "the value ...". Pure.

No message contains the text, which may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sized
from typing import TypeVar

T = TypeVar("T", bound=Sized)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # from JSON, and from a variable that is not UTF-8
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


server_name = matching(r"[a-z0-9]+([_-][a-z0-9]+)*", "is not a server name")
property_name = matching(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*", "is not a name of a Kafka property")
namespace = matching(_TOPIC, "is not a legal prefix of a topic name", NAMESPACE_LENGTH)
instance = matching(_TOPIC, "is not a legal group.instance.id", TOPIC_LENGTH)
topic_name = matching(_TOPIC, "is not a legal topic name", TOPIC_LENGTH)


def topic(text: str) -> str:
    """A topic name that Kafka accepts, and not one of its internal topics."""
    if topic_name(text) in _INTERNAL_TOPICS:
        raise ValueError("is an internal topic of Kafka")
    return text


def host(text: str) -> str:
    """A host name or an IP address to listen on."""
    if re.search(r"[\s/@\[\]\"']", any_text(text)):
        raise ValueError("is not a host name or an IP address")
    return text


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
    if text[:1] in {'"', "'"} or text[-1:] in {'"', "'"}:
        raise ValueError("has an id that begins or ends with a quote")
    if len(text) > SESSION_LENGTH:
        raise ValueError(f"has an id of more than {SESSION_LENGTH} characters")
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
    header_value(not_empty(text))
    if " " in text:
        raise ValueError("has a space")
    return text


def event_id(text: str) -> str:
    """An event id that can be sent as Last-Event-ID."""
    any_text(text)
    if text != text.strip():
        raise ValueError("begins or ends with a space")
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
