"""``mix-bridge check``: whether a start would find everything that it needs."""
