"""What never runs in the daemon: checks, verification, dead letters, checkpoints and status for the commands."""
