"""Fakes, fixtures and events for the tests of the vision service."""

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
from savo_detection.detector import DetectedBox
from savo_providers.prices import Price, Usage
from savo_runtime.service import Runtime
from savo_runtime.testing import FakeClock, memory_runtime
from savo_vision.adapters.photos import StoredPhotos
from savo_vision.adapters.results import StoredResults
from savo_vision.budget import Budget
from savo_vision.costs import CostPolicy
from savo_vision.detection_threads import DetectionThreads
from savo_vision.detections import Answer
from savo_vision.fallback import FallbackPolicy
from savo_vision.loaded_models import LoadedModels
from savo_vision.ports import ModelFile
from savo_vision.routing import Router, RoutingPolicy
from savo_vision.routing_updates import RoutingUpdates
from savo_vision.scan_pipeline import ScanPipeline, ScanPolicy

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


def detection(label: str, confidence: float) -> Detection:
    return Detection(label=label, name=label, confidence=confidence, bbox=BOX)


class FakeProvider:
    """Answers one egg for 1,000 input and 100 output tokens; raises `error` if set."""

    served_by = ServedBy.GOOGLE
    model = "gemini-test"

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None
        self.answer = Answer((detection("egg", 0.95),), Usage(1000, 100))

    async def detect(self, photo: bytes) -> Answer:
        self.calls += 1
        if self.error:
            raise self.error
        return self.answer

    async def close(self) -> None:
        return None


@dataclass
class FakeEngine:
    """Detects an egg for each confidence; raises `error` if set."""

    confidences: Sequence[float] = (0.9,)
    error: Exception | None = None
    batch: int = 1

    def decode(self, photo: bytes) -> Any:
        return np.zeros((4, 4, 3), np.uint8)

    def detect_array(self, rgb: Any) -> list[DetectedBox]:
        if self.error:
            raise self.error
        return [DetectedBox(0, "egg", confidence, BOX) for confidence in self.confidences]

    def detect_batch(self, pictures: Sequence[Any]) -> list[list[DetectedBox]]:
        return [self.detect_array(picture) for picture in pictures]


@dataclass
class FakeModels:
    """Source and loader of models. A file's content is its version, which for a path is its last part."""

    engines: dict[str, FakeEngine] = field(default_factory=dict)
    missing: dict[str, Exception] = field(default_factory=dict)
    """By version or path: raised instead of reading the file."""
    broken: dict[str, Exception] = field(default_factory=dict)
    """By version: raised instead of loading the file."""
    loads: list[str] = field(default_factory=list)

    async def registered(self, ref: ModelRef) -> ModelFile:
        return await self.at_path(ref.version)

    async def at_path(self, path: str) -> ModelFile:
        if path in self.missing:
            raise self.missing[path]
        version = path.rpartition("/")[2]
        return ModelFile(version, version.encode())

    def load(self, file: ModelFile) -> FakeEngine:
        if file.version in self.broken:
            raise self.broken[file.version]
        self.loads.append(file.version)
        return self.engines.setdefault(file.version, FakeEngine())


@dataclass
class Harness:
    """The vision service without Kafka: real routing, models and results in SQLite, fake provider and engines."""

    runtime: Runtime
    provider: FakeProvider
    models: FakeModels
    routing_updates: RoutingUpdates
    scan: ScanPipeline
    clock: FakeClock

    @property
    def store(self) -> Any:
        return self.runtime.store

    @property
    def published(self) -> list[Any]:
        publisher: Any = self.runtime.publisher
        return list(publisher.published)

    async def apply_rollout(self, changed: RolloutChanged) -> None:
        self.routing_updates.receive(changed)
        await self.routing_updates.apply_newest()


@pytest.fixture
def routing_policy() -> RoutingPolicy:
    return RoutingPolicy(use_custom=True)


@pytest.fixture
async def harness(routing_policy: RoutingPolicy) -> AsyncIterator[Harness]:
    clock = FakeClock(NOW)
    async with memory_runtime("vision", migrations="savo_vision.migrations", clock=clock) as runtime:
        provider, models = FakeProvider(), FakeModels()
        loaded_models = LoadedModels(models, runtime.publisher, "vision-0", clock, load=models.load, load_timeout=0.05)
        router = Router(routing_policy)
        with ThreadPoolExecutor(2) as threads:
            results = StoredResults(runtime.database)
            scan = ScanPipeline(
                photos=StoredPhotos(runtime.store),
                results=results,
                router=router,
                loaded_models=loaded_models,
                provider=provider,
                budget=Budget(results, "google", None, clock),
                policy=ScanPolicy(FallbackPolicy(0.6), CostPolicy(Price(1.0, 10.0), 3.6)),
                clock=clock,
                detection_threads=DetectionThreads(threads),
            )
            routing_updates = RoutingUpdates(router, loaded_models, operator_model_path=routing_policy.operator_model)
            await runtime.store.put(KEY, photo_bytes())
            yield Harness(runtime, provider, models, routing_updates, scan, clock)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with serving(Wire()) as running:
        yield running
