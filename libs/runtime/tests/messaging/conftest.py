"""Fixtures that run a test on the embedded broker and on Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from libs.runtime.tests.messaging.bench import Bench, clean_topics, open_bench
from savo_runtime.settings import RuntimeSettings


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def broker_settings(broker_kind: str, request: pytest.FixtureRequest) -> RuntimeSettings:
    if broker_kind == "embedded":
        return RuntimeSettings(
            kafka_bootstrap_servers=request.getfixturevalue("embedded_broker").bootstrap_servers, embedded_broker=True
        )
    return RuntimeSettings(kafka_bootstrap_servers=request.getfixturevalue("kafka"))


@pytest.fixture
async def bench(broker_kind: str, broker_settings: RuntimeSettings) -> AsyncIterator[Bench]:
    if broker_kind == "kafka":
        await clean_topics(broker_settings)
    async with AsyncExitStack() as stack:
        yield await open_bench(broker_settings, broker_kind, stack)
