"""The number of examples of random tests: ``TEST_EFFORT=20`` runs twenty times as many as by default."""

from __future__ import annotations

import os

EFFORT = int(os.environ.get("TEST_EFFORT", "1"))
EXAMPLES = 60 * EFFORT
