"""The number of examples of random tests: ``MIX_BRIDGE_TEST_EFFORT=20`` runs twenty times as many as by default."""

from __future__ import annotations

import os

EFFORT = int(os.environ.get("MIX_BRIDGE_TEST_EFFORT", "1"))
EXAMPLES = 60 * EFFORT
