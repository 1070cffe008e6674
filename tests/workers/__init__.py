"""Tests of bridge.workers."""
