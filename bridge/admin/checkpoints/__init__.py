"""``mix-bridge checkpoints``: read, change, export and import positions."""
