"""Servers of event streams that mix-bridge had no part in, and runs against them."""
