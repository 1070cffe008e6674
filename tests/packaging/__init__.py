"""The installation: the lock files, the wheel, the image."""
