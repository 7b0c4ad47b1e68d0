"""Batches: photos that arrive during a pass form the next batch, up to the engine's batch size."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from savo_detection.detector import DetectedBox
from savo_detection.errors import UnreadablePhotoError
from savo_vision.detection_threads import DetectionThreads
from services.vision.tests.conftest import BOX, FakeEngine


@dataclass
class BlockingEngine(FakeEngine):
    """Detects each photo's bytes as its label. A pass blocks until it is released, and fails with a photo `bad`."""

    batch: int = 4
    passes: list[list[bytes]] = field(default_factory=list)
    released: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def decode(self, photo: bytes) -> Any:
        if photo == b"unreadable":
            raise UnreadablePhotoError("it is cut short")
        return photo

    def detect_batch(self, pictures: Sequence[Any]) -> list[list[DetectedBox]]:
        self.passes.append(list(pictures))
        assert self.released.acquire(timeout=120)
        if b"bad" in pictures:
            raise ValueError("no numbers")
        return [[DetectedBox(0, picture.decode(), 0.9, BOX)] for picture in pictures]

    def release(self, passes: int) -> None:
        self.released.release(passes)


@pytest.fixture
def detection_threads() -> Iterator[DetectionThreads]:
    with ThreadPoolExecutor(4) as threads:
        yield DetectionThreads(threads)


async def until(condition: Any) -> None:
    async with asyncio.timeout(90):
        while not condition():
            await asyncio.sleep(0.001)


def start_detection(
    detection_threads: DetectionThreads, engine: BlockingEngine, *photos: bytes
) -> list[asyncio.Task[tuple[list[DetectedBox], float, float]]]:
    return [asyncio.create_task(detection_threads(engine, photo)) for photo in photos]


async def test_the_first_photo_does_not_wait_and_the_others_form_batches(detection_threads: DetectionThreads) -> None:
    engine = BlockingEngine()
    first = start_detection(detection_threads, engine, b"0")
    await until(lambda: engine.passes == [[b"0"]])
    rest = start_detection(detection_threads, engine, *(str(number).encode() for number in range(1, 7)))
    await until(lambda: sum(len(queue) for queue in detection_threads._queues.values()) == 6)
    engine.release(3)
    found = await asyncio.gather(*first, *rest)
    assert [len(batch) for batch in engine.passes] == [1, 4, 2]
    assert [boxes[0].label for boxes, _, _ in found] == [str(number) for number in range(7)]
    assert detection_threads._queues == {}


async def test_a_photo_s_time_is_its_share_of_the_pass(detection_threads: DetectionThreads) -> None:
    engine = BlockingEngine()
    tasks = start_detection(detection_threads, engine, b"0")
    await until(lambda: engine.passes)
    tasks += start_detection(detection_threads, engine, b"1", b"2")
    await until(lambda: sum(len(queue) for queue in detection_threads._queues.values()) == 2)
    engine.release(2)
    shares = [seconds for _, _, seconds in await asyncio.gather(*tasks)]
    assert shares[1] == shares[2] > 0


async def test_a_photo_that_fails_does_not_fail_the_rest_of_its_batch(detection_threads: DetectionThreads) -> None:
    engine = BlockingEngine()
    tasks = start_detection(detection_threads, engine, b"0")
    await until(lambda: engine.passes)
    tasks += start_detection(detection_threads, engine, b"1", b"bad", b"unreadable", b"2")
    await until(lambda: sum(len(queue) for queue in detection_threads._queues.values()) == 3)
    engine.release(5)
    *_, bad, unreadable, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert (str(bad), type(unreadable)) == ("no numbers", UnreadablePhotoError)
    assert not isinstance(last, BaseException)
    assert last[0][0].label == "2"


async def test_a_cancelled_scan_does_not_cancel_the_rest_of_its_batch(detection_threads: DetectionThreads) -> None:
    engine = BlockingEngine()
    tasks = start_detection(detection_threads, engine, b"0")
    await until(lambda: engine.passes)
    cancelled, kept = start_detection(detection_threads, engine, b"1", b"2")
    await until(lambda: sum(len(queue) for queue in detection_threads._queues.values()) == 2)
    cancelled.cancel()
    engine.release(2)
    assert (await kept)[0][0].label == "2"
    await asyncio.gather(*tasks)


async def test_a_shutdown_of_the_threads_ends_all_waits() -> None:
    engine, threads = BlockingEngine(), ThreadPoolExecutor(1)
    detection_threads = DetectionThreads(threads)
    running = start_detection(detection_threads, engine, b"0")
    await until(lambda: engine.passes)
    waiting = start_detection(detection_threads, engine, b"1")
    stopping = asyncio.create_task(asyncio.to_thread(threads.shutdown, wait=True, cancel_futures=True))
    engine.release(2)
    await asyncio.gather(*running, stopping, return_exceptions=True)
    async with asyncio.timeout(90):
        (outcome,) = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcome, BaseException)


async def test_an_engine_without_batches_gets_each_photo_alone(detection_threads: DetectionThreads) -> None:
    boxes, _, _ = await detection_threads(FakeEngine((0.9, 0.8)), b"photo")
    assert [box.confidence for box in boxes] == [0.9, 0.8]
