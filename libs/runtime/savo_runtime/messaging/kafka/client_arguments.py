"""Kafka client arguments from the settings, for FastStream, aiokafka and confluent-kafka."""

from __future__ import annotations

import logging
import ssl
from typing import Any

from aiokafka.helpers import create_ssl_context
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from savo_contracts.topics import RECIPES_REQUESTED, RECIPES_SUGGESTED, SCANS_COMPLETED, SCANS_FAILED, SCANS_REQUESTED
from savo_runtime.errors import FatalError
from savo_runtime.settings import RuntimeSettings

__all__ = [
    "MAX_RECORD_BYTES",
    "connection_arguments",
    "group_of",
    "librdkafka_arguments",
    "make_broker",
    "member_arguments",
    "reading_arguments",
]

MAX_RECORD_BYTES = 2 * 2**20
"""Largest record with its headers. Above Kafka's default of 1 MiB, so that a dead letter has room for its reasons."""

_AWAITED = frozenset(
    topic.name for topic in (SCANS_REQUESTED, SCANS_COMPLETED, SCANS_FAILED, RECIPES_REQUESTED, RECIPES_SUGGESTED)
)
"""Topics between a user's request and its answer."""

_SASL = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}


def make_broker(settings: RuntimeSettings, service: str) -> KafkaBroker:
    """FastStream's broker with safe defaults.

    It only consumes. `Publisher` publishes, because it replaces its producer after errors from which an idempotent
    producer does not recover.
    """
    return KafkaBroker(
        _addresses(settings),
        security=_security(settings),
        client_id=f"savo-{service}",
        ack_policy=AckPolicy.NACK_ON_ERROR,
        acks="all",
        enable_idempotence=True,
        allow_auto_create_topics=False,
        consumer_only=True,
        apply_types=False,
        graceful_timeout=1.0,
        logger=_logger(),
        log_level=logging.DEBUG,
    )


def connection_arguments(settings: RuntimeSettings) -> dict[str, Any]:
    """Connection arguments of aiokafka's clients. Raises `FatalError` when the settings have no usable address."""
    password = settings.kafka_sasl_password
    return {
        "bootstrap_servers": _addresses(settings),
        "security_protocol": settings.kafka_security_protocol,
        "ssl_context": _ssl_context(settings),
        "sasl_mechanism": settings.kafka_sasl_mechanism if _uses_sasl(settings) else "PLAIN",
        "sasl_plain_username": settings.kafka_sasl_username,
        "sasl_plain_password": password.get_secret_value() if password else None,
    }


def reading_arguments(settings: RuntimeSettings, topic: str) -> dict[str, Any]:
    """Fetch arguments for any consumer of `topic`: from its start, records of any size that `Publisher` sends.

    The embedded broker does not wake a waiting fetch, so the fetch wait delays records there. It is 40 ms where a user
    waits for the answer, at about 0.7 % of a core for each idle consumer, and 250 ms elsewhere.
    """
    wait = {"fetch_max_wait_ms": 40 if topic in _AWAITED else 250} if settings.embedded_broker else {}
    return {"auto_offset_reset": "earliest", "max_partition_fetch_bytes": MAX_RECORD_BYTES, **wait}


def member_arguments(settings: RuntimeSettings, topic: str) -> dict[str, Any]:
    """Arguments for a member of a consumer group.

    The session timeout is short, so that a dead member is noticed soon. The rebalance timeout is long enough to finish
    running records.
    """
    session = 6_000 if settings.embedded_broker else 10_000
    membership = {"session_timeout_ms": session, "heartbeat_interval_ms": session // 3, "rebalance_timeout_ms": 30_000}
    return {**reading_arguments(settings, topic), **membership}


def group_of(service: str, topic: str) -> str:
    """Consumer group of a service on a topic.

    With one group for each topic, a rebalance does not affect the other topics, and the embedded broker, which allows
    one member in a group, can serve a service with several subscriptions.
    """
    return f"savo.{service}.{topic}"


def _logger() -> logging.Logger:
    """FastStream's logger, for connection errors only. The policy logs what happens to records."""
    logger = logging.getLogger("savo.kafka")
    logger.setLevel(logging.ERROR)
    return logger


def librdkafka_arguments(settings: RuntimeSettings) -> dict[str, Any]:
    """Arguments of `confluent_kafka`'s admin client, which can delete groups; aiokafka's cannot.

    Its log is off, since its calls report their errors.
    """
    password = settings.kafka_sasl_password
    tls = {
        "ssl.ca.location": settings.kafka_ssl_ca_file,
        "ssl.certificate.location": settings.kafka_ssl_cert_file,
        "ssl.key.location": settings.kafka_ssl_key_file,
    }
    sasl = {
        "sasl.mechanism": settings.kafka_sasl_mechanism,
        "sasl.username": settings.kafka_sasl_username,
        "sasl.password": password and password.get_secret_value(),
    }
    return {
        "bootstrap.servers": ",".join(_addresses(settings)),
        "security.protocol": settings.kafka_security_protocol,
        "log_level": 0,
        **(sasl if _uses_sasl(settings) else {}),
        **{name: str(path) for name, path in tls.items() if path},
    }


def _addresses(settings: RuntimeSettings) -> list[str]:
    if settings.kafka_bootstrap_servers == "embedded":
        raise FatalError(
            "SAVO_KAFKA_BOOTSTRAP_SERVERS is embedded: that broker exists only inside `savo up`."
            " Start the service with `savo up`, or set host:port of a Kafka"
        )
    return settings.kafka_bootstrap_servers.split(",")


def _uses_sasl(settings: RuntimeSettings) -> bool:
    return settings.kafka_security_protocol.startswith("SASL")


def _ssl_context(settings: RuntimeSettings) -> ssl.SSLContext | None:
    if not settings.kafka_security_protocol.endswith("SSL"):
        return None
    files = {
        "cafile": settings.kafka_ssl_ca_file,
        "certfile": settings.kafka_ssl_cert_file,
        "keyfile": settings.kafka_ssl_key_file,
    }
    try:
        context: ssl.SSLContext = create_ssl_context(**{name: str(path) for name, path in files.items() if path})
    except OSError as error:
        given = ", ".join(str(path) for path in files.values() if path)
        raise FatalError(f"SAVO_KAFKA_SSL_*: the TLS files cannot be loaded ({given}): {error}") from error
    return context


def _security(settings: RuntimeSettings) -> BaseSecurity:
    context = _ssl_context(settings)
    if not _uses_sasl(settings):
        return BaseSecurity(ssl_context=context, use_ssl=context is not None)
    password = settings.kafka_sasl_password.get_secret_value() if settings.kafka_sasl_password else ""
    return _SASL[settings.kafka_sasl_mechanism](
        settings.kafka_sasl_username or "", password, ssl_context=context, use_ssl=context is not None
    )
