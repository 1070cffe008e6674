"""The number of examples of random tests: ``TEST_EFFORT=20`` runs twenty times as many as by default. Their seed."""

from __future__ import annotations

import os
import random
import sys

EFFORT = int(os.environ.get("TEST_EFFORT", "1"))
EXAMPLES = 60 * EFFORT


def new_seed() -> int:
    """Return and print a seed: ``TEST_SEED``, or a random one; with ``CI=true`` the same each time."""
    default = 1 if os.environ.get("CI") == "true" else random.SystemRandom().randrange(10**6)
    seed = int(os.environ.get("TEST_SEED", default))
    print(f"TEST_SEED={seed}", file=sys.stderr)
    return seed
