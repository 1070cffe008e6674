"""Advice that several commands and endpoints give."""

from __future__ import annotations


def name_the_sessions(server: str) -> str:
    """What to do where a server does not list its sessions."""
    return f"this server does not list sessions: name them (`--session ID`, `servers.{server}.sessions`)"
