"""Metrics, health, logs and the HTTP endpoint."""
