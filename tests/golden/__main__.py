"""``python -m tests.golden``: write the expected files again."""

from __future__ import annotations

import shutil

from tests.golden.cases import EXPECTED, GROUPS

if __name__ == "__main__":
    shutil.rmtree(EXPECTED, ignore_errors=True)
    for group in GROUPS:
        folder = EXPECTED / group.__name__
        folder.mkdir(parents=True)
        for name, text in group().items():
            (folder / name).write_text(text, encoding="utf-8")
