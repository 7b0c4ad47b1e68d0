"""Several replicas on one PostgreSQL server, each with connections of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from savo_collector.adapters.sample_database import SqlSampleDatabase
from savo_collector.collection import CollectSample
from savo_collector.thresholds import TrainingPolicy
from savo_contracts.documents import CLASSES_KEY, ClassList
from savo_contracts.ingredients import CATALOGUE
from savo_contracts.samples import RejectionReason, SampleErased, SampleRejected, SampleStored
from savo_contracts.training import TrainingThresholdReached
from savo_contracts.users import SubjectErased
from savo_runtime.database import Database
from savo_runtime.service import Runtime
from savo_runtime.testing import memory_runtime, published_by_outbox

pytestmark = pytest.mark.postgres

REPLICAS = 3


@pytest.fixture
async def replicas(postgres_url: str) -> AsyncIterator[list[Runtime]]:
    """Replicas with connections of their own, and a shared object store and outbox."""
    url = postgres_url.replace("postgresql://", "postgresql+asyncpg://")
    async with AsyncExitStack() as stack:
        runtimes = []
        for _ in range(REPLICAS):
            database = Database(url, "collector")
            stack.push_async_callback(database.close)
            runtimes.append(
                await stack.enter_async_context(
                    memory_runtime("collector", migrations="savo_collector.migrations", database=database)
                )
            )
        yield [replace(runtime, store=runtimes[0].store, outbox=runtimes[0].outbox) for runtime in runtimes]


async def test_replicas_store_each_photo_once_and_publish_each_crossing_once(
    replicas: list[Runtime], build: Callable[..., CollectSample], confirm: Callable[..., Any], kept: Callable[..., Any]
) -> None:
    collects = [build(runtime, training=TrainingPolicy(threshold=5)) for runtime in replicas]
    labels = sorted(CATALOGUE)
    scans = [
        await confirm(
            replicas[0],
            f"scan-{number}-{copy}",
            seed=number,
            subject=f"subject-{number}-{copy}",
            items=(kept(labels[number]),),
        )
        for number in range(15)
        for copy in range(2)
    ]
    events = await asyncio.gather(*(collects[place % REPLICAS](scan) for place, scan in enumerate(scans)))
    stored = [event.sha256 for event in events if isinstance(event, SampleStored)]
    assert len(stored) == len(set(stored)) == 15
    assert [event.reason for event in events if isinstance(event, SampleRejected)] == [RejectionReason.DUPLICATE] * 15
    crossings = [
        event.total_samples
        for event in await published_by_outbox(replicas[0])
        if isinstance(event, TrainingThresholdReached)
    ]
    assert sorted(crossings) == [5, 10, 15]
    classes = ClassList.model_validate_json(await replicas[0].store.get(CLASSES_KEY))
    assert sorted(classes.names()) == labels[:15]


async def test_an_erased_person_is_deleted_from_every_table(
    replicas: list[Runtime], build: Callable[..., CollectSample], confirm: Callable[..., Any]
) -> None:
    collect, other = build(replicas[0]), build(replicas[1])
    confirmed = await confirm(replicas[0], subject="me")
    assert isinstance(await collect(confirmed), SampleStored)
    await other.erasure.erase_subject(SubjectErased(subject="me", erased_at=replicas[1].clock()))
    assert await collect(confirmed) is None
    assert [type(event) for event in await published_by_outbox(replicas[0])] == [SampleErased]
    async with SqlSampleDatabase(replicas[2].database, replicas[2].outbox).transaction() as transaction:
        assert (await transaction.counts()).samples == 0
        assert not await transaction.samples_of_subject("me")
