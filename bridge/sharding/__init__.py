"""Which shards this process owns: membership in the consumer group, claims, leases and restore."""
