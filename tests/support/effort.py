"""How hard the random tests try: every run a little, ``MIX_BRIDGE_TEST_EFFORT=20`` twenty times as many examples."""

from __future__ import annotations

import os

EFFORT = int(os.environ.get("MIX_BRIDGE_TEST_EFFORT", "1"))
EXAMPLES = 60 * EFFORT
