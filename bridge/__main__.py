"""``python -m bridge``: the same as ``mix-bridge``."""

from bridge.cli import main

main()
