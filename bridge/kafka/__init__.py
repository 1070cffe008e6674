"""The Kafka bank: clients, topics, checkpoints."""
