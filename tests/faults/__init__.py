"""Faults that tests make between the bridge and the world."""
