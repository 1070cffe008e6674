"""A real Apache Kafka for tests, and what tests look at it with."""
