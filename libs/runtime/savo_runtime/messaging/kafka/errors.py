"""Translation of aiokafka's errors into the product's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaError

from savo_runtime.errors import DependencyDownError

__all__ = ["kafka_errors"]


@contextmanager
def kafka_errors(message: str) -> Iterator[None]:
    """Turns any error of aiokafka into `DependencyDownError("kafka")`.

    `message` says what failed, for example "Kafka at localhost:9092 cannot be read"; the error's own text follows it.
    """
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise DependencyDownError("kafka", f"{message}: {str(error) or type(error).__name__}") from error
