from __future__ import annotations
from bridge.errors import Mistake

def broken_rules(settings, wrong):
    return []
def needed_to_run(settings, wrong):
    return []
