"""The commands' own work, which never runs in the daemon: check, verify, dead letters, checkpoints and status."""
