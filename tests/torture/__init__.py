"""Fault injection at any size: a few faults in the integration tests, many in ``make torture``."""
