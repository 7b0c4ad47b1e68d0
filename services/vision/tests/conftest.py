"""Fakes and figures that the vision tests share."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from PIL import Image

from libs.providers.tests.wire import Wire, serving
from savo_contracts.envelope import ImageRef
from savo_contracts.geometry import BoundingBox
from savo_contracts.models import ModelRef
from savo_contracts.rollout import RolloutChanged, RolloutState
from savo_contracts.scans import Detection, ScanRequested, ServedBy
from savo_detection.model import DetectedBox
from savo_providers.prices import Price, Usage
from savo_runtime.service import Runtime
from savo_runtime.testing import FakeClock, memory_runtime
from savo_vision.adapters.photos import StoredPhotos
from savo_vision.adapters.results import StoredResults
from savo_vision.budget import Budget
from savo_vision.costs import CostPolicy
from savo_vision.detection_threads import Detecting
from savo_vision.detections import Answer
from savo_vision.fallback import FallbackPolicy
from savo_vision.model_slot import ModelSlot
from savo_vision.ports import ModelFile
from savo_vision.routing import Router, RoutingPolicy
from savo_vision.routing_updates import Steering
from savo_vision.scan_pipeline import Scan, ScanPolicy

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BOX = BoundingBox(x=0.1, y=0.1, width=0.3, height=0.4)
KEY = "scans/ab/photo.jpg"


def photo_bytes(width: int = 320, height: int = 240) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def request(scan_id: str = "s1", subject: str = "u1", **changes: Any) -> ScanRequested:
    image = ImageRef(key=KEY, sha256="a" * 64, bytes=1000, width=320, height=240)
    values = {
        "scan_id": scan_id,
        "subject": subject,
        "image": image,
        "requested_at": NOW,
        "expires_at": NOW + timedelta(seconds=120),
    }
    return ScanRequested(**(values | changes))


def model_ref(version: str, sha: str = "b") -> ModelRef:
    return ModelRef(
        version=version, key=f"models/ingredients/{version}/model.onnx", sha256=sha * 64, classes=("egg", "milk")
    )


def rollout(
    sequence: int, share: float, *, candidate: ModelRef | None = None, champion: ModelRef | None = None
) -> RolloutChanged:
    return RolloutChanged(
        sequence=sequence,
        state=RolloutState.RUNNING if candidate else RolloutState.IDLE,
        experiment=candidate.version if candidate else None,
        candidate=candidate,
        champion=champion,
        share=share,
        reason="a test",
        changed_by="rollout",
        changed_at=NOW,
    )


def seen(label: str, confidence: float) -> Detection:
    return Detection(label=label, name=label, confidence=confidence, bbox=BOX)


class FakeProvider:
    """Answers one egg for 1,000 + 100 tokens; `fault` is raised instead."""

    served_by = ServedBy.GOOGLE
    model = "gemini-test"

    def __init__(self) -> None:
        self.calls = 0
        self.fault: Exception | None = None
        self.answer = Answer((seen("egg", 0.95),), Usage(1000, 100))

    async def look(self, photo: bytes) -> Answer:
        self.calls += 1
        if self.fault:
            raise self.fault
        return self.answer

    async def close(self) -> None:
        return None


@dataclass
class FakeEngine:
    """Sees an egg for each of its confidences; `fault` is raised instead."""

    confidences: Sequence[float] = (0.9,)
    fault: Exception | None = None
    batch: int = 1

    def decode(self, photo: bytes) -> Any:
        return np.zeros((4, 4, 3), np.uint8)

    def detect_array(self, rgb: Any) -> list[DetectedBox]:
        if self.fault:
            raise self.fault
        return [DetectedBox(0, "egg", confidence, BOX) for confidence in self.confidences]

    def detect_batch(self, pictures: Sequence[Any]) -> list[list[DetectedBox]]:
        return [self.detect_array(picture) for picture in pictures]


@dataclass
class FakeModels:
    """A model's file is its version, a path's the last part of it; `faults` says what cannot be had, `broken` what does not load, `engines` what loads."""

    engines: dict[str, FakeEngine] = field(default_factory=dict)
    faults: dict[str, Exception] = field(default_factory=dict)
    broken: dict[str, Exception] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)

    async def registered(self, ref: ModelRef) -> ModelFile:
        return await self.named(ref.version)

    async def named(self, path: str) -> ModelFile:
        if path in self.faults:
            raise self.faults[path]
        version = path.rpartition("/")[2]
        return ModelFile(version, version.encode())

    def load(self, file: ModelFile) -> FakeEngine:
        if file.version in self.broken:
            raise self.broken[file.version]
        self.loads.append(file.version)
        return self.engines.setdefault(file.version, FakeEngine())


@dataclass
class World:
    """A whole vision service without Kafka: real routing, slot, results in SQLite; fake provider and engines."""

    runtime: Runtime
    provider: FakeProvider
    models: FakeModels
    steering: Steering
    scan: Scan
    clock: FakeClock

    @property
    def store(self) -> Any:
        return self.runtime.store

    @property
    def published(self) -> list[Any]:
        publisher: Any = self.runtime.publisher
        return list(publisher.published)

    async def turn_to(self, changed: RolloutChanged) -> None:
        self.steering.take(changed)
        await self.steering.settle()


@pytest.fixture
def routing_policy() -> RoutingPolicy:
    return RoutingPolicy(use_custom=True)


@pytest.fixture
async def world(routing_policy: RoutingPolicy) -> AsyncIterator[World]:
    clock = FakeClock(NOW)
    async with memory_runtime("vision", migrations="savo_vision.migrations", clock=clock) as runtime:
        provider, models = FakeProvider(), FakeModels()
        slot = ModelSlot(models, runtime.publisher, "vision-0", clock, load=models.load, patience=0.05)
        router = Router(routing_policy)
        with ThreadPoolExecutor(2) as threads:
            results = StoredResults(runtime.database)
            scan = Scan(
                photos=StoredPhotos(runtime.store),
                results=results,
                router=router,
                slot=slot,
                provider=provider,
                budget=Budget(results, "google", None, clock),
                policy=ScanPolicy(FallbackPolicy(0.6), CostPolicy(Price(1.0, 10.0), 3.6)),
                clock=clock,
                detecting=Detecting(threads),
            )
            steering = Steering(router, slot, own_path=routing_policy.own_model)
            await runtime.store.put(KEY, photo_bytes())
            yield World(runtime, provider, models, steering, scan, clock)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with serving(Wire()) as running:
        yield running
