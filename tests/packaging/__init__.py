"""What a stranger installs: the lock files, the wheel, the image."""
