"""Fixtures of the collector: its real adapters on SQLite and an object store in memory, and drawn photos."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from savo_collector.adapters.sample_database import SqlSampleDatabase
from savo_collector.app import build_collect
from savo_collector.collection import CollectSample
from savo_collector.settings import CollectorSettings
from savo_collector.thresholds import TrainingPolicy
from savo_contracts.documents import scan_photo_key
from savo_contracts.envelope import ImageRef
from savo_contracts.geometry import BoundingBox
from savo_contracts.scans import Action, Arm, ConfirmedItem, ScanConfirmed, ServedBy
from savo_runtime.service import Runtime
from savo_runtime.testing import FakeClock, memory_runtime

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BOX = BoundingBox(x=0.1, y=0.2, width=0.3, height=0.25)


@pytest.fixture
def draw() -> Callable[..., NDArray[np.uint8]]:
    def scene(seed: int, *, width: int = 320, height: int = 240) -> NDArray[np.uint8]:
        """A bright scene of twelve circles, RGB."""
        rng = np.random.default_rng(seed)
        pixels = np.full((height, width, 3), 180, np.uint8)
        for _ in range(12):
            (x, y), radius = rng.integers((0, 0), (width, height)), int(rng.integers(10, 60))
            cv2.circle(pixels, (int(x), int(y)), radius, rng.integers(30, 255, 3).tolist(), -1)
        return np.clip(pixels + rng.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)

    return scene


@pytest.fixture
def jpeg() -> Callable[..., bytes]:
    def encode(pixels: NDArray[np.uint8], *, orientation: int = 1, quality: int = 92) -> bytes:
        done, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert done
        if orientation == 1:
            return data.tobytes()
        tiff = (
            b"MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01"
            + bytes([0, orientation, 0, 0])
            + b"\x00\x00\x00\x00"
        )
        segment = b"Exif\x00\x00" + tiff
        return bytes(
            data[:2].tobytes() + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:].tobytes()
        )

    return encode


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with memory_runtime("collector", migrations="savo_collector.migrations", clock=FakeClock(NOON)) as runtime:
        yield runtime


@pytest.fixture
def build() -> Callable[..., CollectSample]:
    def build_with(
        runtime: Runtime, *, database: Any = None, training: TrainingPolicy | None = None, **settings: Any
    ) -> CollectSample:
        database = database or SqlSampleDatabase(runtime.database, runtime.outbox)
        collector = CollectorSettings(**{"collect_training_data": True} | settings)
        return build_collect(collector, runtime, database, training or TrainingPolicy())

    return build_with


@pytest.fixture
def collect(runtime: Runtime, build: Callable[..., CollectSample]) -> CollectSample:
    return build(runtime)


@pytest.fixture
def kept() -> Callable[..., ConfirmedItem]:
    def item(label: str = "milk", **fields: Any) -> ConfirmedItem:
        return ConfirmedItem(**{"label": label, "action": Action.KEPT, "bbox": BOX} | fields)

    return item


@pytest.fixture
def confirm(
    draw: Callable[..., Any], jpeg: Callable[..., bytes], kept: Callable[..., ConfirmedItem]
) -> Callable[..., Any]:
    """`await confirm(runtime, …)` stores a photo as the gateway does, and returns the event."""

    async def confirmation(
        runtime: Runtime, scan_id: str = "scan-1", *, photo: bytes | None = None, seed: int | None = None, **fields: Any
    ) -> ScanConfirmed:
        data = photo if photo is not None else jpeg(draw(_seed(scan_id) if seed is None else seed))
        sha256 = hashlib.sha256(data).hexdigest()
        image = ImageRef(
            key=scan_photo_key(sha256, "image/jpeg"), sha256=sha256, bytes=len(data), width=320, height=240
        )
        await runtime.store.put(image.key, data)
        return _confirmed(scan_id, image, kept(), fields)

    return confirmation


@pytest.fixture
def revised() -> Callable[..., ScanConfirmed]:
    def revise(confirmed: ScanConfirmed, **fields: Any) -> ScanConfirmed:
        return confirmed.model_copy(update={"revision": confirmed.revision + 1} | fields)

    return revise


def _confirmed(scan_id: str, image: ImageRef, item: ConfirmedItem, fields: dict[str, Any]) -> ScanConfirmed:
    route = {
        "assigned_arm": Arm.BASELINE,
        "served_by": ServedBy.GOOGLE,
        "model_version": "gemini",
        "bucket": 17,
        "share": 0.0,
    }
    event = {
        "scan_id": scan_id,
        "subject": "subject-of-train-0",
        "image": image,
        "items": (item,),
        "revision": 1,
        "confirmed_at": NOON,
    }
    return ScanConfirmed(**route | event | fields)


def _seed(scan_id: str) -> int:
    return int(hashlib.sha256(scan_id.encode()).hexdigest()[:8], 16)
