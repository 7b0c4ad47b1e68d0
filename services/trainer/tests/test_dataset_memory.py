"""Memory of freeze and download: it does not grow with the number of samples."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # comes with ultralytics
import pytest

from savo_contracts.documents import sample_image_key, sample_labels_key
from savo_contracts.samples import Split
from savo_runtime.storage.port import ObjectInfo
from savo_runtime.testing import MemoryStore
from savo_trainer.adapters.samples import DatabaseSamples
from savo_trainer.ports import IndexedSample
from savo_trainer.training.dataset import download_dataset
from savo_trainer.versions.freeze import Origin
from services.trainer.tests.trainer_fakes import NOON, class_list, open_harness

pytestmark = pytest.mark.real
"""Writes 100,000 small files."""

LABELS = b"0 0.50000000 0.50000000 0.20000000 0.20000000\n" * 4


class SlowStore(MemoryStore):
    """Every sample has the same photo and labels, and a request takes some milliseconds, as with S3."""

    async def get(self, key: str) -> bytes:
        await asyncio.sleep(0.002)
        return LABELS if key.startswith("samples/labels/") else await super().get(key)

    async def download(self, key: str, path: Path) -> ObjectInfo:
        if not key.startswith("samples/images/"):
            return await super().download(key, path)
        await asyncio.sleep(0.002)
        await asyncio.to_thread(path.write_bytes, b"photo")
        return ObjectInfo(key, 5, "")


@dataclass(frozen=True)
class Indexed(DatabaseSamples):
    """An index that makes its samples when they are read."""

    count: int

    async def in_dataset(self, dataset: str) -> AsyncIterator[IndexedSample]:
        for sha256 in sorted(hashlib.sha256(str(number).encode()).hexdigest() for number in range(self.count)):
            image, labels = sample_image_key(sha256, "image/jpeg"), sample_labels_key(sha256)
            split = (Split.TRAIN, Split.VAL, Split.TEST)[int(sha256[:8], 16) % 3]
            yield IndexedSample(sha256, dataset, split, sha256[:36], image, labels, 1, {"tomato": 4}, NOON)


async def test_memory_grows_by_less_than_50_mb_from_5_000_to_20_000_samples(tmp_path: Path) -> None:
    peaks: list[int] = []
    async with open_harness(tmp_path / "runs") as harness:
        for count in (5_000, 20_000):
            store, folder = SlowStore(), tmp_path / str(count)
            await store.put("samples/classes.json", class_list().model_dump_json().encode())
            async with peak_memory(peaks):
                freeze = replace(harness.freeze, samples=Indexed(harness.samples.database, count), store=store)
                frozen = await freeze("ingredients", Origin(f"run-{count}"), folder)
                local = await download_dataset(frozen, store, folder, harness.samples.erased)
            assert sum(local.counts.values()) == count
            del store.objects
    assert (peaks[1] - peaks[0]) / 1e6 < 50


@asynccontextmanager
async def peak_memory(peaks: list[int]) -> AsyncIterator[None]:
    """Appends the most bytes that this process has in memory during the block."""
    process = psutil.Process()
    peak = process.memory_info().rss

    async def sample() -> None:
        nonlocal peak
        while True:
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.02)

    sampling = asyncio.create_task(sample())
    yield
    sampling.cancel()
    peaks.append(peak)
