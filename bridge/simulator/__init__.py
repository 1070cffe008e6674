"""A simulated Mix server: for the demo, for the tests, and for tests of your own."""
