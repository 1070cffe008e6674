"""Golden tests: they pin everything that users and other programs depend on, byte for byte.

- ``expected/<group>/`` has one file per document: records, HTTP answers, ``--json`` output, metrics, settings,
  exit codes.
- ``cases.py`` produces the same documents from the code. Each function in ``GROUPS`` fills one folder.
- ``seams.py`` has all imports of ``bridge``. When code moves or is renamed, change ``seams.py`` only.
- ``python -m tests.golden`` writes ``expected/`` again. Read the difference before you commit it: each changed line
  is a change of the public interface.

Sentences for people may change. The expected files have ``<text>`` in their place (see ``PROSE`` in ``cases.py``).
"""
