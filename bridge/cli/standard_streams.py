"""Standard input, output and error that the parent process closed."""

from __future__ import annotations

import os
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_missing() -> None:
    """Open ``/dev/null`` in place of each that is closed; before any other file is opened.

    Otherwise the first connections of the process get these numbers, and a line that the Kafka client or the
    interpreter writes to standard error would get into a stream of Kafka's protocol.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for ever
            setattr(sys, f"__{name}__", getattr(sys, name))
