"""The running bridge: sessions, workers, supervision, start and shutdown."""
