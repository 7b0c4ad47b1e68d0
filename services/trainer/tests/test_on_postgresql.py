"""Data set versions with two replicas on one PostgreSQL server, each with connections of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from savo_contracts.samples import SampleErased
from savo_runtime.database import Database
from savo_runtime.testing import FakeClock, MemoryStore, memory_runtime
from savo_trainer.handlers import on_sample_erased
from savo_trainer.versions.catalogue import stored_versions
from savo_trainer.versions.freeze import Origin
from savo_trainer.versions.removal import DatasetRemoval
from services.trainer.tests.trainer_fakes import NOON, Harness, harness_on, store_samples

pytestmark = [pytest.mark.postgres, pytest.mark.real]


@pytest.fixture
async def replicas(postgres_url: str, tmp_path: Path) -> AsyncIterator[list[Harness]]:
    """Two trainers with one object store."""
    url, store = postgres_url.replace("postgresql://", "postgresql+asyncpg://"), MemoryStore()
    async with AsyncExitStack() as stack:
        harnesses = []
        for number in range(2):
            database = Database(url, "trainer")
            stack.push_async_callback(database.close)
            runtime = memory_runtime("trainer", migrations="savo_trainer.migrations", database=database)
            opened, clock = await stack.enter_async_context(runtime), FakeClock(NOON)
            harnesses.append(harness_on(opened, store, clock, f"replica-{number}", tmp_path / "runs"))
        yield harnesses


async def test_replicas_freeze_erase_and_remove_at_once(replicas: list[Harness], tmp_path: Path) -> None:
    first, second = replicas
    samples = await store_samples(first.store, first.samples, train=20)
    erased = SampleErased(sha256=samples[0].sha256, scan_id="s", subject="p", erased_at=NOON)

    async def erase() -> None:
        await first.store.delete(samples[0].labels_key)
        await on_sample_erased(erased, first.samples, first.labels)

    frozen = await asyncio.gather(
        first.freeze("ingredients", Origin(run_id="run-a"), tmp_path / "a"),
        second.freeze("ingredients", Origin(run_id="run-b"), tmp_path / "b"),
        erase(),
    )
    assert {version.version for version in frozen[:2]} == {"ds-000001", "ds-000002"}
    listed = [line for version in frozen[:2] for line in version.manifest]
    assert all(line.labels_key in first.store.objects for line in listed)
    removals = [
        DatasetRemoval(each.labels, each.run_store, each.store, each.freeze.lease, each.clock) for each in replicas
    ]
    await asyncio.gather(removals[0]("ds-000001", tmp_path / "rm-a"), removals[1]("ds-000002", tmp_path / "rm-b"))
    assert await stored_versions(first.store) == []
    assert not [key for key in first.store.objects if key.startswith("datasets/labels/")]
