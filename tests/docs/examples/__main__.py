"""``python -m tests.docs.examples``: write the files again."""

from __future__ import annotations

from tests.docs.examples import FOLDER, files

if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text)
