"""The simulated Mix agent server: for tests, for the demo and for load tests.

``python -m bridge.simulator`` starts one; ``bridge.simulator.server.mix_server`` is the same inside a program.

Thread rule of all modules that are not pure, unless they say another: the server's event loop thread.
"""
