"""A hundred hot swaps under load: the whole product answers four clients while the model behind it is replaced again and again.

Each swap is a `rollout.changed` on Kafka that names a new version of yolov8n in the object store: fetched, its sha256 and classes checked, loaded, warmed
up, shown its golden pictures, put in place, the one before it drained and freed. Half of them replace the candidate, half the champion.

A swap's silence is the longest between two answers, from the event until the new version has answered every client. It is followed by a stretch as long
in which nothing is swapped: clients that keep every core busy know silences then too. The pause at a quantile is what the swaps' has over the stretches'.
The model being loaded takes its share of the cores, so part of it is that.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from math import ceil
from pathlib import Path

import httpx2

from benchmarks.load import http_client
from benchmarks.measuring import RESAMPLES, SEED, Figure, middle_95, rounds
from benchmarks.photo_to_boxes import photos, sure_model
from benchmarks.product import PATIENCE, Broker, Product, best_engine, broker, one_of_many, product
from savo_contracts.documents import GoldenBox, GoldenPicture, ModelReport, model_key
from savo_contracts.models import ModelRef
from savo_contracts.rollout import RolloutChanged, RolloutState
from savo_contracts.training import Evaluation
from savo_demo.drawing.scenes import draw_scenes
from savo_detection.model import Detector
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.factory import open_store

SWAPS = rounds(100)
CLIENTS = 4
GOLDEN = 3
PORT = 18461
LIMIT_MS = 50.0
LEAST_MS = 0.1


def figures() -> Iterator[Figure]:
    engine = best_engine()
    with (
        tempfile.TemporaryDirectory(prefix="savo-bench-", ignore_cleanup_errors=True) as folder,
        broker() as brokered,
        product(Path(folder), PORT, brokered, {"SAVO_DETECTION_ENGINE": engine}) as served,
    ):
        seen = asyncio.run(watch_swaps(served, brokered, Registry(RuntimeSettings(data_dir=Path(folder)))))
    draw, pairs = random.Random(SEED), seen.silences()
    pause = over_the_usual(pairs, p99)
    drawn = sorted(over_the_usual(draw.choices(pairs, k=len(pairs)), p99) for _ in range(RESAMPLES))
    ratios = [LIMIT_MS / max(LEAST_MS, one) for one in reversed(drawn)]
    failed = f"{len(seen.failures)} of {len(seen.answers) + len(seen.failures)} scans failed"
    middle = over_the_usual(pairs, statistics.median)
    note = f"{failed}; p50 {middle:.0f} ms; {CLIENTS} clients; {engine}; {brokered.words}"
    name = f"pause of {len(pairs)} hot swaps, p99"
    yield Figure(
        name, "ms", pause, "the most allowed", LIMIT_MS, LIMIT_MS / max(LEAST_MS, pause), *middle_95(ratios), note
    )
    for reason in sorted(set(seen.failures)):
        sys.stderr.write(f"a scan failed during the swaps: {reason}\n")


def p99(values: Sequence[float]) -> float:
    return sorted(values)[ceil(0.99 * len(values)) - 1]


def over_the_usual(pairs: Sequence[tuple[float, float]], quantile: Callable[[Sequence[float]], float]) -> float:
    swaps, usual = zip(*pairs, strict=True)
    return quantile(swaps) - quantile(usual)


@dataclass
class Seen:
    """What the clients saw, and when, in seconds of one clock."""

    answers: list[tuple[float, str]] = field(default_factory=list)
    """When, and by which version."""
    failures: list[str] = field(default_factory=list)
    swaps: list[tuple[float, float]] = field(default_factory=list)
    quiet: list[tuple[float, float]] = field(default_factory=list)

    def silences(self) -> list[tuple[float, float]]:
        """Milliseconds: of each swap, and of the stretch after it."""
        return [(self._silence(swap), self._silence(quiet)) for swap, quiet in zip(self.swaps, self.quiet, strict=True)]

    def _silence(self, stretch: tuple[float, float]) -> float:
        """The longest between two answers of which one at least lies within."""
        began, ended = stretch
        moments = [at for at, _ in self.answers]
        return max(
            1000 * (later - earlier) for earlier, later in pairwise(moments) if later >= began and earlier <= ended
        )


async def watch_swaps(served: Product, brokered: Broker, registry: Registry) -> Seen:
    seen, publisher = Seen(), Publisher(brokered.settings, "rollout")
    await publisher.start()
    try:
        await registry.fill()
        await publisher.publish(registry.decision(0))
        async with http_client() as client:
            forms = one_of_many(photos()["512 px"])
            await served.until_it_answers(client, next(forms))
            clients = [asyncio.create_task(_client(served, client, forms, seen)) for _ in range(CLIENTS)]
            for number in range(1, SWAPS + 1):
                began = time.perf_counter()
                await publisher.publish(registry.decision(number))
                await _until_all_see(version_of(number), seen)
                ended = time.perf_counter()
                await asyncio.sleep(ended - began)
                seen.swaps.append((began, ended))
                seen.quiet.append((ended, time.perf_counter()))
            for task in clients:
                task.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
    finally:
        await publisher.stop()
    return seen


async def _client(served: Product, client: httpx2.AsyncClient, forms: Iterator[bytes], seen: Seen) -> None:
    while True:
        try:
            version = (await served.scan(client, next(forms)))["model_version"]
        except (AssertionError, httpx2.HTTPError) as failure:
            seen.failures.append(str(failure) or type(failure).__name__)
        else:
            seen.answers.append((time.perf_counter(), version))


async def _until_all_see(version: str, seen: Seen) -> None:
    """As many answers of it in a row as there are clients: no scan of the one before is left."""
    async with asyncio.timeout(PATIENCE):
        while [by for _, by in seen.answers[-CLIENTS:]] != [version] * CLIENTS:
            await asyncio.sleep(0.005)


def version_of(number: int) -> str:
    return f"v{number + 1}"


class Registry:
    """yolov8n under ever new versions, with the report and the golden pictures that a registered model has."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self.store = open_store(settings)
        self.data = sure_model().read_bytes()
        self.detector = Detector.load(self.data)
        self.sha256 = hashlib.sha256(self.data).hexdigest()
        self.key = model_key(version_of(0), "model.onnx")

    async def fill(self) -> None:
        await self.store.put(self.key, self.data)
        golden = [await self._golden(scene.jpeg) for scene in draw_scenes(GOLDEN, seed=5)]
        for number in range(SWAPS + 1):
            report = self._report(version_of(number), tuple(golden))
            await self.store.put(model_key(version_of(number), "report.json"), report.model_dump_json().encode())

    def decision(self, number: int) -> RolloutChanged:
        """In the first half the version is the candidate, for everyone, beside a champion; in the second it is the champion, and nobody is on trial."""
        on_trial = 0 < number <= SWAPS / 2
        version = version_of(number)
        return RolloutChanged(
            sequence=number + 1,
            state=RolloutState.RUNNING if on_trial else RolloutState.COMPLETED,
            experiment=version if on_trial else None,
            candidate=self._ref(version) if on_trial else None,
            champion=self._ref(version_of(0) if on_trial else version),
            share=1.0 if on_trial else 0.0,
            reason="a benchmark",
            changed_by="benchmark",
            changed_at=datetime.now(UTC),
        )

    def _ref(self, version: str) -> ModelRef:
        return ModelRef(version=version, key=self.key, sha256=self.sha256, classes=self.detector.classes)

    async def _golden(self, photo: bytes) -> GoldenPicture:
        sha256 = hashlib.sha256(photo).hexdigest()
        key = f"golden/{sha256}.jpg"
        await self.store.put(key, photo)
        boxes = [
            GoldenBox(label=box.label, confidence=box.confidence, bbox=box.bbox) for box in self.detector.detect(photo)
        ]
        return GoldenPicture(sha256=sha256, image_key=key, boxes=tuple(boxes))

    def _report(self, version: str, golden: tuple[GoldenPicture, ...]) -> ModelReport:
        evaluation = Evaluation(
            map50=0.8,
            map50_lower=0.75,
            map50_upper=0.85,
            images=GOLDEN,
            boxes=sum(len(picture.boxes) for picture in golden),
        )
        return ModelReport(
            version=version,
            run_id="benchmark",
            dataset_version="v1",
            onnx_sha256=self.sha256,
            onnx_bytes=len(self.data),
            image_size=max(self.detector.image_size),
            classes=self.detector.classes,
            train_samples=0,
            evaluation=evaluation,
            golden=golden,
            verdict="passed",
            created_at=datetime.now(UTC),
        )
