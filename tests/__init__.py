"""Tests of mix-bridge."""
