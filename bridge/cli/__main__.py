"""``python -m bridge.cli``: the same as ``mix-bridge``."""

from bridge.cli import main

main()
