"""The simulated Mix server: HTTP, sessions and streams."""
