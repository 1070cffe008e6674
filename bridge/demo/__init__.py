"""A whole system on one machine: simulated Mix server, embedded Kafka, scenario."""
