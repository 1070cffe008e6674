"""The faults that the simulated Mix server plays on request."""
