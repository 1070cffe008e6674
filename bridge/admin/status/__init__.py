"""``mix-bridge status``: the status of running daemons, read over HTTP."""
