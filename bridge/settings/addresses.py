"""Addresses of servers and proxies: http or https, a host, and perhaps credentials that must never be shown."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from pydantic import Secret

MASK = "**********"
_UNSAFE = re.compile(r"[^\x21-\x7e]")


def mask_credentials(text: str) -> str:
    """The text with everything before the last ``@`` hidden (after ``//`` if it has one): a password may hold ``/``."""
    before, at, host = text.rpartition("@")
    scheme, slashes, _ = before.partition("//")
    return f"{scheme + slashes if slashes else ''}{MASK}@{host}" if at else text


class Address(Secret[str]):
    """An http(s) address. `get_secret_value` is the whole of it, str and repr hide user and password.

    A value of the settings tree: immutable, any thread.
    """

    @classmethod
    def parse(cls, text: str, *, path: bool) -> Address:
        """The address in a text; ValueError says what is wrong with it (never the text)."""
        if _UNSAFE.search(text):
            raise ValueError("has a blank or a character that must be percent-encoded")
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError("has a host or port that is none") from None
        _refuse_others(parts.scheme, host, port)
        if parts.query or parts.fragment or text[-1] in "?#":
            raise ValueError("has a query or fragment")
        # An @ after the host may as well be the end of a password that holds a slash: telling them apart is guessing
        if "@" in parts.path:
            raise ValueError("has an @ in its path: write %40, also for / in a password %2F")
        if not path and parts.path not in {"", "/"}:
            raise ValueError("has a path")
        return cls(text)

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return urlsplit(self.get_secret_value()).scheme

    @property
    def has_credentials(self) -> bool:
        """Whether a user or a password is part of the address."""
        return "@" in urlsplit(self.get_secret_value()).netloc

    @property
    def public(self) -> str:
        """The address without user and password: what may be shown anywhere."""
        parts = urlsplit(self.get_secret_value())
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def _display(self) -> str:
        return mask_credentials(self.get_secret_value())


def _refuse_others(scheme: str, host: str | None, port: int | None) -> None:
    if scheme not in {"http", "https"}:
        raise ValueError("does not begin with http:// or https://")
    if not host:
        raise ValueError("has no host")
    if port == 0:
        raise ValueError("has port 0")
