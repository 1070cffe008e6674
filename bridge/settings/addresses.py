"""Addresses of servers and proxies: http or https, a host, and optional credentials that must never be shown."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from pydantic import Secret

MASK = "**********"
_UNSAFE = re.compile(r"[^\x21-\x7e]")
_QUOTE = re.compile("[\"']")


def mask_credentials(text: str) -> str:
    """The text with everything before the last ``@`` hidden (after ``//`` if it has one): a password may hold ``/``."""
    before, at, host = text.rpartition("@")
    scheme, slashes, _ = before.partition("//")
    return f"{scheme + slashes if slashes else ''}{MASK}@{host}" if at else text


class Address(Secret[str]):
    """An http(s) address. `get_secret_value` returns all of it; str and repr hide user and password.

    Immutable; any thread may use it.
    """

    @classmethod
    def parse_without_path(cls, text: str) -> Address:
        """As `parse`, for an address that must not have a path."""
        address = cls.parse(text)
        if urlsplit(text).path not in {"", "/"}:
            raise ValueError("has a path")
        return address

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address in a text. ValueError names the problem, never the text."""
        if _QUOTE.search(text):
            raise ValueError("has a quote: remove it, or write %22 or %27")
        if _UNSAFE.search(text):
            raise ValueError("has a space or a character that must be percent-encoded")
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError("has an invalid host or port") from None
        if parts.scheme not in {"http", "https"}:
            raise ValueError("does not begin with http:// or https://")
        if not host:
            raise ValueError("has no host")
        if port == 0:
            raise ValueError("has port 0")
        if parts.query or parts.fragment or text[-1] in "?#":
            raise ValueError("has a query or fragment")
        # An @ after the host may also be the end of a password that contains a slash: nothing distinguishes the two
        if "@" in parts.path:
            raise ValueError("has an @ in its path: write %40 for it, and %2F for / in a password")
        return cls(text)

    @property
    def scheme(self) -> str:
        return urlsplit(self.get_secret_value()).scheme

    @property
    def has_credentials(self) -> bool:
        return "@" in urlsplit(self.get_secret_value()).netloc

    @property
    def public(self) -> str:
        """The address without user and password, which may be shown anywhere."""
        parts = urlsplit(self.get_secret_value())
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def _display(self) -> str:
        return mask_credentials(self.get_secret_value())
