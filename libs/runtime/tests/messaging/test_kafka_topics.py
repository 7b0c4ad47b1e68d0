"""The registry's topics on a real Kafka, and the client arguments from the settings."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka.admin import AdminClient
from faststream import AckPolicy
from structlog.testing import capture_logs

from savo_contracts.topics import ROLLOUT_CHANGED, SCANS_REQUESTED, TOPICS, dead_letter_topics
from savo_runtime.errors import DependencyDownError, FatalError
from savo_runtime.messaging.consuming import consumers as consumers_module
from savo_runtime.messaging.consuming.consumers import Consumers
from savo_runtime.messaging.consuming.subscriptions import bind, consumes
from savo_runtime.messaging.kafka.client_arguments import (
    connection_arguments,
    group_of,
    librdkafka_arguments,
    make_broker,
)
from savo_runtime.messaging.kafka.embedded import EmbeddedBroker
from savo_runtime.messaging.kafka.topics import ensure_topics
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.settings import RuntimeSettings
from tests.parts.addresses import free_port


@pytest.mark.kafka
async def test_every_topic_is_created_once_with_its_partitions_and_retention(kafka: str) -> None:
    settings = RuntimeSettings(kafka_bootstrap_servers=kafka)
    await ensure_topics(settings)
    assert await ensure_topics(settings) == []
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        found = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
        compacted = await _config(admin, ROLLOUT_CHANGED.name)
        dead_letters = await _config(admin, SCANS_REQUESTED.dead_letters("vision"))
    finally:
        await admin.close()
    assert {topic.name: topic.partitions for topic in TOPICS}.items() <= found.items()
    assert {name: 1 for _, _, name in dead_letter_topics()}.items() <= found.items()
    assert compacted["cleanup.policy"] == "compact"
    assert dead_letters["max.message.bytes"] == str(2 * 2**20)


@pytest.mark.kafka
async def test_a_replication_factor_above_the_number_of_brokers_is_refused(kafka: str) -> None:
    settings = RuntimeSettings(kafka_bootstrap_servers=kafka, kafka_replication_factor=3)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.delete_topics([SCANS_REQUESTED.dead_letters("vision")])
    async with asyncio.timeout(90):
        while (
            SCANS_REQUESTED.dead_letters("vision") in await admin.list_topics()
        ):  # Kafka deletes topics after it has answered
            await asyncio.sleep(0.05)
    await admin.close()
    with pytest.raises(FatalError, match=r"Kafka refuses topic .*SAVO_KAFKA_REPLICATION_FACTOR"):
        await ensure_topics(settings)


async def test_an_unreachable_kafka_is_a_dependency_that_is_down() -> None:
    with pytest.raises(DependencyDownError, match="kafka is down"):
        await ensure_topics(RuntimeSettings(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}"))


async def test_a_start_without_kafka_fails_after_a_timeout_and_names_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumers_module, "CONNECT_WITHIN", 0.5)
    settings = RuntimeSettings(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    with pytest.raises(DependencyDownError, match=f"no answer from {settings.kafka_bootstrap_servers}"):
        await Consumers(settings, "gateway", Publisher(settings, "gateway")).start()


def test_production_refuses_the_embedded_broker() -> None:
    with pytest.raises(FatalError, match="SAVO_ENV=production refuses the embedded broker"):
        EmbeddedBroker(env="production")


def test_the_embedded_broker_logs_what_it_is_for() -> None:
    with capture_logs() as events, EmbeddedBroker() as broker:
        host, port = broker.bootstrap_servers.split(":")
        socket.create_connection((host, int(port)), 5).close()
    assert "in memory, for trying and testing" in events[0]["note"]
    broker.stop()


def test_embedded_is_no_address_outside_of_savo_up() -> None:
    with pytest.raises(FatalError, match="exists only inside `savo up`"):
        connection_arguments(RuntimeSettings(kafka_bootstrap_servers="embedded"))


def test_the_broker_has_safe_defaults() -> None:
    broker = make_broker(RuntimeSettings(kafka_bootstrap_servers="a:1,b:2"), "gateway")
    assert broker.config.broker_config.ack_policy is AckPolicy.NACK_ON_ERROR
    assert not broker.config.broker_config.allow_auto_create_topics
    assert broker._connection_kwargs["acks"] == "all"
    assert broker._connection_kwargs["enable_idempotence"] is True
    assert broker._connection_kwargs["bootstrap_servers"] == ["a:1", "b:2"]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_sasl_settings_apply_to_every_kafka_client(protocol: str, mechanism: str) -> None:
    settings = RuntimeSettings.model_validate(
        {
            "kafka_bootstrap_servers": "kafka:9092",
            "kafka_security_protocol": protocol,
            "kafka_sasl_mechanism": mechanism,
            "kafka_sasl_username": "savo",
            "kafka_sasl_password": "secret",
        }
    )
    ours, theirs = connection_arguments(settings), make_broker(settings, "gateway")._connection_kwargs
    for name in ("security_protocol", "sasl_mechanism", "sasl_plain_username", "sasl_plain_password"):
        assert ours[name] == theirs[name]
    assert (ours["ssl_context"] is None) == (theirs.get("ssl_context") is None) == (protocol == "SASL_PLAINTEXT")
    third = librdkafka_arguments(settings)
    assert (third["security.protocol"], third["sasl.mechanism"], third["sasl.username"], third["sasl.password"]) == (
        protocol,
        mechanism,
        "savo",
        "secret",
    )
    AdminClient(third)  # librdkafka accepts every option


def test_a_missing_tls_file_is_named(tmp_path: Path) -> None:
    settings = RuntimeSettings(
        kafka_bootstrap_servers="kafka:9092", kafka_security_protocol="SSL", kafka_ssl_ca_file=tmp_path / "none.pem"
    )
    with pytest.raises(FatalError, match=r"none\.pem"):
        connection_arguments(settings)


def test_two_handlers_of_one_topic_are_refused() -> None:
    @consumes(SCANS_REQUESTED)
    async def on_requested(_: object) -> None:
        return None

    settings = RuntimeSettings(kafka_bootstrap_servers="kafka:9092")
    with pytest.raises(ValueError, match=r"two handlers of scans\.requested"):
        Consumers(settings, "vision", Publisher(settings, "vision"), [bind(on_requested), bind(on_requested)])
    assert group_of("vision", "scans.requested") == "savo.vision.scans.requested"


async def _config(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {entry[0]: entry[1] for entry in answer.resources[0][4]}
