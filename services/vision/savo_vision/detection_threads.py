"""Thread pool for inference: one thread for each core, outside the event loop.

An engine that is faster in batches gets the photos that arrived during its last pass as one batch. No photo waits for a
batch to fill.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from savo_detection.detector import DetectedBox
from savo_detection.photos.decoding import Pixels
from savo_vision.loaded_models import Engine, timed_detection

__all__ = ["DetectionThreads"]

_BoxesAndSeconds = tuple[list[DetectedBox], float]
"""Boxes, and the photo's share of the seconds that its pass took."""


@dataclass(frozen=True)
class _QueuedPhoto:
    pixels: Pixels
    result: asyncio.Future[_BoxesAndSeconds]


@dataclass
class DetectionThreads:
    """Runs an engine on photos, concurrently up to the number of threads."""

    threads: Executor
    _queues: dict[int, deque[_QueuedPhoto]] = field(default_factory=dict)
    """Photos by the id of their engine. An engine has an entry while its passes run."""
    _passes: set[asyncio.Task[None]] = field(default_factory=set)

    async def __call__(self, engine: Engine, photo: bytes) -> tuple[list[DetectedBox], float, float]:
        """Boxes, seconds of decoding and seconds of inference.

        Raises `PhotoError` for a photo that cannot be decoded, and every error of the engine.
        """
        loop = asyncio.get_running_loop()
        if engine.batch == 1:
            return await loop.run_in_executor(self.threads, timed_detection, engine, photo)
        began = time.perf_counter()
        pixels = await loop.run_in_executor(self.threads, engine.decode, photo)
        decoded = time.perf_counter()
        boxes, seconds = await self._detect_in_batch(engine, pixels)
        return boxes, decoded - began, seconds

    async def _detect_in_batch(self, engine: Engine, pixels: Pixels) -> _BoxesAndSeconds:
        queued = _QueuedPhoto(pixels, asyncio.get_running_loop().create_future())
        if id(engine) in self._queues:
            self._queues[id(engine)].append(queued)
        else:
            self._queues[id(engine)] = deque([queued])
            task = asyncio.create_task(self._run_passes(engine, self._queues[id(engine)]))
            self._passes.add(task)
            task.add_done_callback(self._passes.discard)
        return await queued.result

    async def _run_passes(self, engine: Engine, queue: deque[_QueuedPhoto]) -> None:
        batch: list[_QueuedPhoto] = []
        try:
            while queue:
                batch = [queue.popleft() for _ in range(min(engine.batch, len(queue)))]
                await self._run_pass(engine, batch)
        finally:
            del self._queues[id(engine)]
            for queued in (*batch, *queue):
                queued.result.cancel()  # no effect on a result that is set already

    async def _run_pass(self, engine: Engine, batch: Sequence[_QueuedPhoto]) -> None:
        began = time.perf_counter()
        try:
            pictures = [queued.pixels for queued in batch]
            results = await asyncio.get_running_loop().run_in_executor(self.threads, engine.detect_batch, pictures)
        except Exception as error:  # noqa: BLE001 - raised again where the photo's scan waits for its result
            await self._fail(engine, batch, error)
            return
        seconds = (time.perf_counter() - began) / len(batch)
        for queued, boxes in zip(batch, results, strict=True):
            if not queued.result.done():
                queued.result.set_result((boxes, seconds))

    async def _fail(self, engine: Engine, batch: Sequence[_QueuedPhoto], error: Exception) -> None:
        """Run each photo of a failed batch alone, so that only the photo that causes the error fails."""
        if len(batch) > 1:
            for queued in batch:
                await self._run_pass(engine, [queued])
        elif not batch[0].result.done():
            batch[0].result.set_exception(error)
