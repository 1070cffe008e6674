"""``mix-bridge topics``: the topics that the settings need, and the permissions for them."""
