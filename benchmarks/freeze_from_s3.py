"""Benchmark: freeze samples in S3 and bring them to a local folder. The peer is a bare loop of 32 requests at a time.

For each sample, the loop gets the label file, stores a copy of it and downloads the photo. The freeze also writes the
manifest, records the label files in a database, looks for erasures and writes the files in ultralytics' layout. In a
long run there are 20,000 samples, and the memory that they need is compared with that of 5,000.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import aioboto3
import psutil  # type: ignore[import-untyped]  # comes with ultralytics, which the benchmarks need anyway
from botocore.config import Config
from sqlalchemy import delete

from benchmarks.measurement import Figure, interval, long_run
from savo_contracts.documents import CLASSES_KEY, ClassList, sample_image_key, sample_labels_key
from savo_contracts.samples import Split
from savo_runtime.runtime import Runtime
from savo_runtime.storage.s3 import S3Store
from savo_runtime.testing import memory_runtime
from savo_trainer.adapters.frozen_labels import DatabaseFrozenLabels
from savo_trainer.adapters.lease import DATASETS, DatabaseLease
from savo_trainer.adapters.samples import DatabaseSamples
from savo_trainer.adapters.tables import FrozenLabelsRow
from savo_trainer.adapters.version_numbers import DatabaseVersionNumbers
from savo_trainer.ports import IndexedSample
from savo_trainer.training.dataset import download_dataset
from savo_trainer.versions.freeze import DatasetFreeze, Origin
from tests.parts.s3 import S3Server, temporary_versitygw

SAMPLES, ROUNDS = (20_000, 1) if long_run() else (1_000, 3)
FEW_SAMPLES = 5_000
IN_FLIGHT = 32
PHOTO_BYTES = 8_000
"""Small, so that requests are measured rather than the disk."""

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)

T = TypeVar("T")


@dataclass(frozen=True)
class Stored:
    """A sample in the object store."""

    sha256: str
    split: Split

    @property
    def image_key(self) -> str:
        return sample_image_key(self.sha256, "image/jpeg")

    @property
    def labels_key(self) -> str:
        return sample_labels_key(self.sha256)


def figures() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="savo-bench-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        with temporary_versitygw(_made(folder / "objects")) as server:
            yield asyncio.run(_measured(server, folder))


async def _measured(server: S3Server, folder: Path) -> Figure:
    samples = await _fill(server)
    ours, peer, peaks, few = list[float](), list[float](), list[float](), 0.0
    async with memory_runtime("trainer", migrations="savo_trainer.migrations") as runtime:
        if long_run():
            fewer = samples[:FEW_SAMPLES]
            _, few = await _rate(len(fewer), folder, lambda local: _freeze(runtime, server, fewer, local))
            await _forget(runtime, server)
        for _ in range(ROUNDS):
            rate, peak = await _rate(len(samples), folder, lambda local: _freeze(runtime, server, samples, local))
            ours.append(rate)
            peaks.append(peak)
            peer.append((await _rate(len(samples), folder, lambda local: _loop(server, samples, local)))[0])
            await _forget(runtime, server)
    ratios = [mine / theirs for mine, theirs in zip(ours, peer, strict=True)]
    growth = f"; {max(peaks) - few:+.0f} MB from {FEW_SAMPLES:,} to {SAMPLES:,} samples" if long_run() else ""
    return Figure(
        f"freeze and bring {SAMPLES:,} samples from S3",
        "samples/s",
        statistics.median(ours),
        "32-way loop",
        statistics.median(peer),
        statistics.median(ratios),
        *interval(ratios),
        f"versitygw, {PHOTO_BYTES:,} bytes a photo{growth}",
    )


async def _rate(count: int, folder: Path, work: Callable[[Path], Awaitable[None]]) -> tuple[float, float]:
    """Samples a second, and the most MB in memory."""
    local = _made(folder / "local")
    async with _peak_memory() as peak:
        began = time.perf_counter()
        await work(local)
        rate = count / (time.perf_counter() - began)
    shutil.rmtree(local)
    return rate, peak()


async def _freeze(runtime: Runtime, server: S3Server, samples: list[Stored], local: Path) -> None:
    store, index = _store(server), _Index(runtime.database, samples)
    lease = DatabaseLease(runtime.database, "benchmark", 60.0, runtime.clock, DATASETS)
    labels, numbers = DatabaseFrozenLabels(runtime.database, store), DatabaseVersionNumbers(runtime.database)
    freeze = DatasetFreeze(index, labels, numbers, store, lease, runtime.clock)
    frozen = await freeze("ingredients", Origin(run_id="run-benchmark"), local)
    brought = await download_dataset(frozen, store, local, index.erased)
    assert sum(brought.counts.values()) == len(samples)
    await store.close()


async def _loop(server: S3Server, samples: list[Stored], local: Path) -> None:
    """What a script would do: 32 workers that take the next sample."""
    waiting = iter(samples)
    async with _client(server) as client:

        async def get(key: str) -> bytes:
            answer = await client.get_object(Bucket=server.bucket, Key=key)
            async with answer["Body"] as body:
                return bytes(await body.read())

        async def work() -> None:
            for sample in waiting:
                labels = await get(sample.labels_key)
                (local / f"{sample.sha256}.txt").write_bytes(labels)
                await client.put_object(Bucket=server.bucket, Key=f"copies/{sample.sha256}.txt", Body=labels)
                (local / f"{sample.sha256}.jpg").write_bytes(await get(sample.image_key))

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


async def _fill(server: S3Server) -> list[Stored]:
    """Store the samples, ordered by sha256."""
    draw = random.Random(5)
    store, samples = _store(server), list[Stored]()
    await store.put(CLASSES_KEY, ClassList().extend(["tomato"]).model_dump_json().encode())

    async def put(_: int) -> None:
        photo = draw.randbytes(PHOTO_BYTES)
        sample = Stored(hashlib.sha256(photo).hexdigest(), draw.choice([Split.TRAIN, Split.TRAIN, Split.TEST]))
        samples.append(sample)
        await store.put(sample.image_key, photo)
        await store.put(sample.labels_key, f"0 0.5 0.5 0.2 {draw.random():.8f}\n".encode())

    await _all(range(SAMPLES), put)
    await store.close()
    return sorted(samples, key=lambda sample: sample.sha256)


async def _forget(runtime: Runtime, server: S3Server) -> None:
    """Delete the versions, so that each round is a first freeze."""
    store = _store(server)
    keys = [info.key async for info in store.list("datasets/")]
    await _all(keys, store.delete)
    await store.close()
    async with runtime.database.session() as session:
        await session.execute(delete(FrozenLabelsRow))


async def _all(items: Iterable[T], request: Callable[[T], Awaitable[None]]) -> None:
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await request(item)

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


@dataclass(frozen=True)
class _Index(DatabaseSamples):
    """An index of these samples. No time is spent on the events that would fill the table."""

    samples: list[Stored]

    async def in_dataset(self, dataset: str) -> AsyncIterator[IndexedSample]:
        for stored in self.samples:
            keys = (stored.image_key, stored.labels_key)
            yield IndexedSample(stored.sha256, dataset, stored.split, "subject", *keys, 1, {"tomato": 1}, NOON)


def _store(server: S3Server) -> S3Store:
    return S3Store(
        endpoint_url=server.endpoint_url,
        bucket=server.bucket,
        access_key_id=server.access_key_id,
        secret_access_key=server.secret_access_key,
        region="us-east-1",
    )


def _client(server: S3Server) -> Any:
    return aioboto3.Session().client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        region_name="us-east-1",
        config=Config(max_pool_connections=50, s3={"addressing_style": "path"}),
    )


@asynccontextmanager
async def _peak_memory() -> AsyncIterator[Callable[[], float]]:
    """Yields a function that returns the most MB of this process so far."""
    process, peak = psutil.Process(), 0.0

    async def sample() -> None:
        nonlocal peak
        while True:
            peak = max(peak, process.memory_info().rss / 1e6)
            await asyncio.sleep(0.05)

    sampling = asyncio.create_task(sample())
    try:
        yield lambda: peak
    finally:
        sampling.cancel()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
