"""``mix-bridge verify``: whether the numbers of every session are complete."""
