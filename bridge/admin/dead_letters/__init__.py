"""``mix-bridge dead-letters``: read, explain and replay dead letters."""
