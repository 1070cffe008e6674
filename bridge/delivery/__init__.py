"""From numbered events to acknowledged Kafka records."""
