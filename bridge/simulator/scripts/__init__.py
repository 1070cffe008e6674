"""The scripts of the simulated agents and of load tests."""
