"""Fakes of the trainer's tests: samples in a store, a runner and a measurement without a neural network."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid5

from savo_contracts.documents import (
    CLASSES_KEY,
    Alias,
    ClassList,
    IngredientClass,
    ManifestLine,
    alias_key,
    manifest_key,
    sample_image_key,
    sample_labels_key,
)
from savo_contracts.samples import Split
from savo_contracts.training import Evaluation, TrainingThresholdReached
from savo_detection.evaluation.evaluator import EvaluationSample, ImageRecord
from savo_runtime.service import Runtime
from savo_runtime.testing import FakeClock, MemoryStore, memory_runtime
from savo_trainer.adapters.frozen_labels import DatabaseFrozenLabels
from savo_trainer.adapters.lease import DATASETS, DatabaseLease
from savo_trainer.adapters.run_database import DatabaseRuns
from savo_trainer.adapters.samples import DatabaseSamples
from savo_trainer.adapters.version_numbers import DatabaseVersionNumbers
from savo_trainer.models.evaluation import Measurement
from savo_trainer.models.gate import GatePolicy
from savo_trainer.ports import IndexedSample, OnProgress
from savo_trainer.runs.run import Progress, Run, run_for_event
from savo_trainer.runs.run_worker import RunWorker, RunWorkerPolicy
from savo_trainer.runs.stages import Stages
from savo_trainer.training.plan import Export, Trained, TrainPlan, TrainPolicy
from savo_trainer.versions.freeze import DatasetFreeze
from savo_trainer.versions.manifest import ManifestFile, fetch_manifest

NAMES = ("tomato", "banana", "egg")
LEASE_SECONDS = 30.0
EVENT = UUID("6a1d2f3e-0000-4000-8000-000000000001")
NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def class_list(names: Sequence[str] = NAMES) -> ClassList:
    return ClassList(classes=tuple(IngredientClass(id=number, label=name) for number, name in enumerate(names)))


def threshold(total: int = 10) -> TrainingThresholdReached:
    return TrainingThresholdReached(
        reason="samples", new_samples=total, total_samples=total, threshold=10, reached_at=NOON
    )


def make_run(number: int = 1) -> Run:
    return run_for_event(uuid5(EVENT, str(number)), threshold())


async def store_samples(
    store: MemoryStore, samples: DatabaseSamples | None, *, train: int = 4, val: int = 1, test: int = 2, first: int = 0
) -> list[IndexedSample]:
    """Store the class list, label files and photos (arbitrary bytes), and index them as samples."""
    await store.put(CLASSES_KEY, class_list().model_dump_json().encode())
    splits = [Split.TRAIN] * train + [Split.VAL] * val + [Split.TEST] * test
    collected = [await store_sample(store, first + number, split) for number, split in enumerate(splits)]
    for sample in collected if samples else ():
        await samples.record(sample)  # type: ignore[union-attr]
    return collected


async def store_sample(
    store: MemoryStore, number: int, split: Split, labels: str | None = None, photo: bytes | None = None
) -> IndexedSample:
    content = photo or f"photo {number}".encode()
    sha256 = hashlib.sha256(content).hexdigest()
    image_key, labels_key = sample_image_key(sha256, "image/jpeg"), sample_labels_key(sha256)
    await store.put(image_key, content)
    await store.put(labels_key, (f"{number % len(NAMES)} 0.5 0.5 0.2 0.2\n" if labels is None else labels).encode())
    return IndexedSample(
        sha256,
        "ingredients",
        split,
        f"subject-{number}",
        image_key,
        labels_key,
        1,
        {NAMES[number % len(NAMES)]: 1},
        NOON,
    )


async def as_an_earlier_release_froze_it(
    version: str, samples: Iterable[IndexedSample], store: MemoryStore, folder: Path
) -> ManifestFile:
    """A manifest whose lines name the samples' own label files, and nothing else."""
    lines = [
        ManifestLine(
            sha256=sample.sha256,
            split=sample.split,
            subject=sample.subject,
            image_key=sample.image_key,
            labels_key=sample.labels_key,
            labels_sha256=hashlib.sha256(store.objects[sample.labels_key]).hexdigest(),
        )
        for sample in sorted(samples, key=lambda sample: sample.sha256)
    ]
    manifest = "".join(line.model_dump_json() + "\n" for line in lines)
    await store.put(manifest_key(version), manifest.encode())
    return await fetch_manifest(version, store, folder)


class Crash(BaseException):
    """Simulated death of the process: no handler may catch it."""


@dataclass
class FakeRunner:
    """Writes files instead of training. `before` and `after` are called around that and may raise."""

    plans: list[TrainPlan] = field(default_factory=list)
    stopped: list[Path] = field(default_factory=list)
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None
    weights_map50: float | None = 0.90
    export_map50: float | None = 0.90
    not_optimized: str | None = None

    async def train(self, plan: TrainPlan, data: Path, folder: Path, on_progress: OnProgress) -> Trained:
        self.before()
        self.plans.append(plan)
        await on_progress(Progress(epoch=1, epochs=plan.epochs, losses={"box_loss": 1.5}, map50=0.5, seconds=1.0))
        weights, onnx = folder / "best.pt", folder / "best.onnx"
        weights.write_bytes(b"weights")
        onnx.write_bytes(b"onnx")
        plain = None if self.not_optimized else folder / "best.plain.onnx"
        if plain:
            plain.write_bytes(b"plain onnx")
        self.after()
        return Trained(weights, Export(onnx, plain, self.not_optimized), self.weights_map50, self.export_map50, 12.0)

    async def stop_stale(self, folder: Path) -> None:
        self.stopped.append(folder)


@dataclass
class FakeMeasure:
    """Returns the quality of a version, which it reads from the file name."""

    quality: dict[str, float] = field(default_factory=dict)
    default: float = 0.90
    before: Callable[[], None] = lambda: None
    measured: list[str] = field(default_factory=list)

    def __call__(self, onnx: Path, photos: Iterable[EvaluationSample]) -> Measurement:
        self.before()
        self.measured.append(onnx.stem)
        samples = list(photos)
        map50 = self.quality.get(onnx.stem, self.default)
        found = map50 >= 0.5
        records = tuple(_record(sample, found) for sample in samples)
        lower, upper = max(0.0, map50 - 0.05), min(1.0, map50 + 0.05)
        boxes = sum(len(sample.truth) for sample in samples)
        return Measurement(
            Evaluation(
                map50=map50,
                map50_lower=lower,
                map50_upper=upper,
                images=len(samples),
                boxes=boxes,
                per_class={"tomato": map50},
            ),
            records,
        )


def _record(sample: EvaluationSample, found: bool) -> ImageRecord:
    labels = tuple(label for label, _ in sample.truth)
    return ImageRecord(
        sample.name,
        sample.group,
        labels,
        (0.9,) * len(labels),
        (found,) * len(labels),
        {label: labels.count(label) for label in labels},
    )


@dataclass
class Harness:
    """All parts of a trainer on one database and store. `replica` makes another trainer on the same two."""

    runtime: Runtime
    store: MemoryStore
    clock: FakeClock
    run_store: DatabaseRuns
    lease: DatabaseLease
    samples: DatabaseSamples
    numbers: DatabaseVersionNumbers
    labels: DatabaseFrozenLabels
    freeze: DatasetFreeze
    runner: FakeRunner
    measure: FakeMeasure
    worker: RunWorker
    ended: list[Run]

    def replica(self, owner: str) -> Harness:
        return harness_on(self.runtime, self.store, self.clock, owner, self.worker.stages.folder)

    async def request(self, number: int = 1) -> Run:
        run = make_run(number)
        await self.run_store.request(run)
        return run

    async def work(self) -> bool:
        return await self.lease.acquire() and await self.worker.work_once()

    async def state_of(self, run: Run) -> Run:
        current = await self.run_store.get(run.id)
        assert current is not None
        return current


async def make_champion(harness: Harness, version: str = "v1") -> None:
    alias = Alias(alias="champion", version=version, moved_at=NOON)
    await harness.store.put(alias_key("champion"), alias.model_dump_json().encode())


@asynccontextmanager
async def open_harness(folder: Path) -> AsyncIterator[Harness]:
    clock = FakeClock(NOON + timedelta(hours=1))
    async with memory_runtime("trainer", migrations="savo_trainer.migrations", clock=clock) as runtime:
        assert isinstance(runtime.store, MemoryStore)
        yield harness_on(runtime, runtime.store, clock, "replica-1", folder)


def harness_on(runtime: Runtime, store: MemoryStore, clock: FakeClock, owner: str, folder: Path) -> Harness:
    lease = DatabaseLease(runtime.database, owner, LEASE_SECONDS, clock)
    run_store = DatabaseRuns(runtime.database, runtime.outbox, lease)
    samples, numbers, runner, measure = (
        DatabaseSamples(runtime.database),
        DatabaseVersionNumbers(runtime.database),
        FakeRunner(),
        FakeMeasure(),
    )
    ended: list[Run] = []
    labels = DatabaseFrozenLabels(runtime.database, store)
    freeze = DatasetFreeze(samples, labels, numbers, store, replace(lease, name=DATASETS), clock)
    stages = Stages(
        run_store,
        samples,
        freeze,
        numbers,
        store,
        runner,
        TrainPolicy(epochs=3),
        GatePolicy(),
        folder,
        clock,
        ended.append,
        measure,
    )
    worker = RunWorker(run_store, lease, stages, RunWorkerPolicy(attempts=3), pause=lambda _: asyncio.sleep(0))
    return Harness(
        runtime, store, clock, run_store, lease, samples, numbers, labels, freeze, runner, measure, worker, ended
    )
