"""Errors of Kafka's clients as errors by what the consumer must do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaError

from savo_runtime.errors import DependencyDownError

__all__ = ["kafka_errors"]


@contextmanager
def kafka_errors(what: str) -> Iterator[None]:
    """Raises `DependencyDownError("kafka")` for what aiokafka raises. `what` begins its message: "Kafka at localhost:9092 cannot be read"."""
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise DependencyDownError("kafka", f"{what}: {str(error) or type(error).__name__}") from error
