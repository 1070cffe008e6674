"""The page's file and its security policy."""

from __future__ import annotations

import base64
import hashlib
import re

from bridge.observe.page.routes import content_security_policy, html


def test_the_page_loads_nothing_from_elsewhere() -> None:
    """One file: no address, no import, no attribute that runs code, no way to turn text into markup."""
    text = html()
    addresses = set(re.findall(r"https?://[^\s'\"`$]+", text)) - {"http://www.w3.org/2000/svg"}
    assert addresses == set()
    loads = r"\bimport\b|<script [^>]|<link rel=.?stylesheet"
    runs = r"\son[a-z]+=|\sstyle=|innerHTML|outerHTML|insertAdjacent|eval\(|document\.write"
    assert re.findall(f"{loads}|{runs}", text) == []


def test_the_policy_allows_the_page_alone() -> None:
    """One hash for its script and one for its styles; requests go to the endpoint only."""
    text = html()
    policy = dict(each.strip().split(" ", 1) for each in content_security_policy(text).split(";"))
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        [content] = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"
    assert (policy["default-src"], policy["connect-src"], policy["frame-ancestors"]) == ("'none'", "'self'", "'none'")
    assert "unsafe" not in " ".join(policy.values())
