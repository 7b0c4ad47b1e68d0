"""Kafka clients: connection arguments, topics, reading without a group, lag, the embedded broker."""
