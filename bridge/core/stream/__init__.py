"""Decisions about one event stream: its events, its ids, and whether it was resumed."""
