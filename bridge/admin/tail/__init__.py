"""``mix-bridge tail``: prints records as they arrive."""
