"""How fast the bridge is, beside the bridge a user would write: ``make bench``."""
