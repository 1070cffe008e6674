"""Secrets kept in files: tokens, passwords."""

from __future__ import annotations

from pathlib import Path


def read_secret(path: Path) -> str:
    """The text of a file without its trailing newline. OSError when it cannot be read, is empty or not UTF-8."""
    try:
        text = path.read_bytes().decode()
    except ValueError:
        # Not `from` the original: its repr holds the bytes
        raise OSError(f"{path} is not UTF-8") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise OSError(f"{path} is empty")
    return text
