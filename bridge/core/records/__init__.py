"""The records on every topic: one codec for each record type."""
