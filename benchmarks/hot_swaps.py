"""Benchmark: pause of a hundred hot swaps under load. The product answers four clients while its model is replaced.

Each swap is a `rollout.changed` on Kafka with a new version of yolov8n. Vision reads it from the object store, checks
sha256, classes and golden pictures, warms it up, swaps it in, and frees the old one. Half of the swaps replace the
candidate, half the champion.

A swap's gap is the longest time between two answers, from the event until the new version has answered every client.
An equally long period without a swap follows, because busy clients have gaps then too. The pause at a quantile is the
quantile of the swaps' gaps minus that of the periods without a swap. It includes the CPU time of loading the model.
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
from benchmarks.measurement import RESAMPLES, SEED, Figure, percentile_interval, rounds
from benchmarks.photo_to_boxes import confident_model, photos
from benchmarks.product_process import READY_SECONDS, Broker, Product, best_engine, broker, distinct_forms, product
from savo_contracts.documents import GoldenBox, GoldenPicture, ModelReport, model_key
from savo_contracts.models import ModelRef
from savo_contracts.rollout import RolloutChanged, RolloutState
from savo_contracts.training import Evaluation
from savo_demo.drawing.scenes import draw_scenes
from savo_detection.detector import Detector
from savo_runtime.messaging.publishing.publisher import Publisher
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.factory import open_store

SWAPS = rounds(100)
CLIENTS = 4
GOLDEN = 3
PORT = 18461
LIMIT_MS = 50.0
MIN_MS = 0.1


def figures() -> Iterator[Figure]:
    engine = best_engine()
    with (
        tempfile.TemporaryDirectory(prefix="savo-bench-", ignore_cleanup_errors=True) as folder,
        broker() as running_broker,
        product(Path(folder), PORT, running_broker, {"SAVO_DETECTION_ENGINE": engine}) as served,
    ):
        log = asyncio.run(run_swaps(served, running_broker, Registry(RuntimeSettings(data_dir=Path(folder)))))
    draw, pairs = random.Random(SEED), log.gaps()
    pause = quantile_difference(pairs, p99)
    drawn = sorted(quantile_difference(draw.choices(pairs, k=len(pairs)), p99) for _ in range(RESAMPLES))
    ratios = [LIMIT_MS / max(MIN_MS, pause_ms) for pause_ms in reversed(drawn)]
    failed = f"{len(log.failures)} of {len(log.answers) + len(log.failures)} scans failed"
    middle = quantile_difference(pairs, statistics.median)
    note = f"{failed}; p50 {middle:.0f} ms; {CLIENTS} clients; {engine}; {running_broker.description}"
    name = f"pause of {len(pairs)} hot swaps, p99"
    yield Figure(
        name, "ms", pause, "limit", LIMIT_MS, LIMIT_MS / max(MIN_MS, pause), *percentile_interval(ratios), note
    )
    for reason in sorted(set(log.failures)):
        sys.stderr.write(f"a scan failed during the swaps: {reason}\n")


def p99(values: Sequence[float]) -> float:
    return sorted(values)[ceil(0.99 * len(values)) - 1]


def quantile_difference(pairs: Sequence[tuple[float, float]], quantile: Callable[[Sequence[float]], float]) -> float:
    """A quantile of the swaps' gaps minus that of the gaps without a swap."""
    swaps, without_swap = zip(*pairs, strict=True)
    return quantile(swaps) - quantile(without_swap)


@dataclass
class ClientLog:
    """What the clients observed, with times in seconds of one clock."""

    answers: list[tuple[float, str]] = field(default_factory=list)
    """Time, and the version that answered."""
    failures: list[str] = field(default_factory=list)
    swaps: list[tuple[float, float]] = field(default_factory=list)
    without_swap: list[tuple[float, float]] = field(default_factory=list)

    def gaps(self) -> list[tuple[float, float]]:
        """Longest gaps in milliseconds: of each swap, and of the period after it."""
        return [(self._gap(swap), self._gap(after)) for swap, after in zip(self.swaps, self.without_swap, strict=True)]

    def _gap(self, period: tuple[float, float]) -> float:
        """The longest gap between two consecutive answers, at least one of them within the period."""
        began, ended = period
        moments = [at for at, _ in self.answers]
        return max(
            1000 * (later - earlier) for earlier, later in pairwise(moments) if later >= began and earlier <= ended
        )


async def run_swaps(served: Product, running_broker: Broker, registry: Registry) -> ClientLog:
    log, publisher = ClientLog(), Publisher(running_broker.settings, "rollout")
    await publisher.start()
    try:
        await registry.fill()
        await publisher.publish(registry.decision(0))
        async with http_client() as client:
            forms = distinct_forms(photos()["512 px"])
            await served.wait_for_custom_model(client, next(forms))
            clients = [asyncio.create_task(_client(served, client, forms, log)) for _ in range(CLIENTS)]
            for number in range(1, SWAPS + 1):
                began = time.perf_counter()
                await publisher.publish(registry.decision(number))
                await _wait_for_version(version_of(number), log)
                ended = time.perf_counter()
                await asyncio.sleep(ended - began)
                log.swaps.append((began, ended))
                log.without_swap.append((ended, time.perf_counter()))
            for task in clients:
                task.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
    finally:
        await publisher.stop()
    return log


async def _client(served: Product, client: httpx2.AsyncClient, forms: Iterator[bytes], log: ClientLog) -> None:
    while True:
        try:
            version = (await served.scan(client, next(forms)))["model_version"]
        except (AssertionError, httpx2.HTTPError) as failure:
            log.failures.append(str(failure) or type(failure).__name__)
        else:
            log.answers.append((time.perf_counter(), version))


async def _wait_for_version(version: str, log: ClientLog) -> None:
    """Wait until the last answer to each client is from this version."""
    async with asyncio.timeout(READY_SECONDS):
        while [by for _, by in log.answers[-CLIENTS:]] != [version] * CLIENTS:
            await asyncio.sleep(0.005)


def version_of(number: int) -> str:
    return f"v{number + 1}"


class Registry:
    """Registry with one model, yolov8n, under many versions, each with a report and golden pictures."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self.store = open_store(settings)
        self.data = confident_model().read_bytes()
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
        """In the first half of the swaps the version is the candidate with a share of 1, in the second the champion."""
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
