"""Photos to boxes off the event loop, in as many threads as there are cores.

With an engine that gains by batches, photos that come while a pass runs go together in the next: nobody waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from savo_detection.model import DetectedBox
from savo_detection.photos.decoding import Pixels
from savo_vision.model_slot import Engine, timed_detection

__all__ = ["Detecting"]

_Found = tuple[list[DetectedBox], float]
"""Boxes, and a photo's share of the seconds that its pass took."""


@dataclass(frozen=True)
class _Waiting:
    pixels: Pixels
    found: asyncio.Future[_Found]


@dataclass
class Detecting:
    threads: Executor
    _waiting: dict[int, deque[_Waiting]] = field(default_factory=dict)
    """By engine, for as long as its passes run."""
    _passes: set[asyncio.Task[None]] = field(default_factory=set)

    async def __call__(self, engine: Engine, photo: bytes) -> tuple[list[DetectedBox], float, float]:
        """Boxes, and the seconds that decoding and detecting took. Raises `PhotoError`s, and whatever the engine raises."""
        loop = asyncio.get_running_loop()
        if engine.batch == 1:
            return await loop.run_in_executor(self.threads, timed_detection, engine, photo)
        began = time.perf_counter()
        pixels = await loop.run_in_executor(self.threads, engine.decode, photo)
        decoded = time.perf_counter()
        boxes, seconds = await self._with_the_next_pass(engine, pixels)
        return boxes, decoded - began, seconds

    async def _with_the_next_pass(self, engine: Engine, pixels: Pixels) -> _Found:
        one = _Waiting(pixels, asyncio.get_running_loop().create_future())
        if id(engine) in self._waiting:
            self._waiting[id(engine)].append(one)
        else:
            self._waiting[id(engine)] = deque([one])
            task = asyncio.create_task(self._pass_after_pass(engine, self._waiting[id(engine)]))
            self._passes.add(task)
            task.add_done_callback(self._passes.discard)
        return await one.found

    async def _pass_after_pass(self, engine: Engine, waiting: deque[_Waiting]) -> None:
        together: list[_Waiting] = []
        try:
            while waiting:
                together = [waiting.popleft() for _ in range(min(engine.batch, len(waiting)))]
                await self._pass(engine, together)
        finally:
            del self._waiting[id(engine)]
            for one in (*together, *waiting):
                one.found.cancel()  # of those that have their answer it changes nothing

    async def _pass(self, engine: Engine, together: Sequence[_Waiting]) -> None:
        began = time.perf_counter()
        try:
            pictures = [one.pixels for one in together]
            found = await asyncio.get_running_loop().run_in_executor(self.threads, engine.detect_batch, pictures)
        except Exception as flaw:  # noqa: BLE001 - it is raised where the photo's scan is answered
            await self._fail(engine, together, flaw)
            return
        seconds = (time.perf_counter() - began) / len(together)
        for one, boxes in zip(together, found, strict=True):
            if not one.found.done():
                one.found.set_result((boxes, seconds))

    async def _fail(self, engine: Engine, together: Sequence[_Waiting], flaw: Exception) -> None:
        """One photo's fault is not its neighbours': they are looked at again, each by itself."""
        if len(together) > 1:
            for one in together:
                await self._pass(engine, [one])
        elif not together[0].found.done():
            together[0].found.set_exception(flaw)
