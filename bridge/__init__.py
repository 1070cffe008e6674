"""mix-bridge: Mix agent event streams into Kafka, nothing lost."""

__version__ = "0.1.0"
