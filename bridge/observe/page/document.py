"""The page's HTML and the Content-Security-Policy that allows its own script and styles, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from importlib.resources import files

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def html() -> str:
    """The page: it loads nothing from anywhere but ``/api``."""
    return files(__package__).joinpath("page.html").read_text("utf-8")


def content_security_policy(text: str) -> str:
    """The policy (CSP level 3) for this text: the hash of each inline script and style.

    Text of a server that became markup by a bug in the page could neither run nor load nor send anything.
    """
    return "; ".join((
        "default-src 'none'",
        f"script-src {' '.join(_hashes(text, 'script'))}",
        f"style-src {' '.join(_hashes(text, 'style'))}",
        "img-src data:",  # its icon
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ))  # fmt: skip


def _hashes(text: str, element: str) -> Iterator[str]:
    for name, content in _INLINE.findall(text):
        if name == element:
            digest = hashlib.sha256(content.encode()).digest()
            yield f"'sha256-{base64.b64encode(digest).decode()}'"
