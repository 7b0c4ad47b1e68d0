"""Messaging over Kafka: `consuming`, `publishing`, and the clients in `kafka`."""
