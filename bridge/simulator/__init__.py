"""The simulated Mix agent server: for tests, for the demo and for load tests.

``python -m bridge.simulator`` starts one; ``bridge.simulator.server.mix_server`` is the same inside a program.
"""
