"""Tests of the Kafka client code."""
