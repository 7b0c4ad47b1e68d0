"""Photos that come while a pass runs go together in the next, up to what the engine gains by."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from savo_detection.errors import UnreadablePhotoError
from savo_detection.model import DetectedBox
from savo_vision.detection_threads import Detecting
from services.vision.tests.conftest import BOX, FakeEngine


@dataclass
class Gathering(FakeEngine):
    """A picture is its photo's own bytes, which it sees as a label. Each pass waits until it is let go; a photo `bad` breaks its pass."""

    batch: int = 4
    passes: list[list[bytes]] = field(default_factory=list)
    may_go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def decode(self, photo: bytes) -> Any:
        if photo == b"unreadable":
            raise UnreadablePhotoError("it is cut short")
        return photo

    def detect_batch(self, pictures: Sequence[Any]) -> list[list[DetectedBox]]:
        self.passes.append(list(pictures))
        assert self.may_go.acquire(timeout=120)
        if b"bad" in pictures:
            raise ValueError("no numbers")
        return [[DetectedBox(0, picture.decode(), 0.9, BOX)] for picture in pictures]

    def let_go(self, passes: int) -> None:
        self.may_go.release(passes)


@pytest.fixture
def detecting() -> Iterator[Detecting]:
    with ThreadPoolExecutor(4) as threads:
        yield Detecting(threads)


async def until(holds: Any) -> None:
    async with asyncio.timeout(90):
        while not holds():
            await asyncio.sleep(0.001)


def asked(
    detecting: Detecting, engine: Gathering, *photos: bytes
) -> list[asyncio.Task[tuple[list[DetectedBox], float, float]]]:
    return [asyncio.create_task(detecting(engine, photo)) for photo in photos]


async def test_who_comes_first_waits_for_nobody_and_the_rest_go_together(detecting: Detecting) -> None:
    engine = Gathering()
    first = asked(detecting, engine, b"0")
    await until(lambda: engine.passes == [[b"0"]])
    rest = asked(detecting, engine, *(str(number).encode() for number in range(1, 7)))
    await until(lambda: sum(len(waiting) for waiting in detecting._waiting.values()) == 6)
    engine.let_go(3)
    found = await asyncio.gather(*first, *rest)
    assert [len(each) for each in engine.passes] == [1, 4, 2]
    assert [boxes[0].label for boxes, _, _ in found] == [str(number) for number in range(7)]
    assert detecting._waiting == {}


async def test_a_photo_s_time_is_its_share_of_the_pass(detecting: Detecting) -> None:
    engine = Gathering()
    tasks = asked(detecting, engine, b"0")
    await until(lambda: engine.passes)
    tasks += asked(detecting, engine, b"1", b"2")
    await until(lambda: sum(len(waiting) for waiting in detecting._waiting.values()) == 2)
    engine.let_go(2)
    shares = [seconds for _, _, seconds in await asyncio.gather(*tasks)]
    assert shares[1] == shares[2] > 0


async def test_one_photo_s_fault_is_not_its_neighbours(detecting: Detecting) -> None:
    engine = Gathering()
    tasks = asked(detecting, engine, b"0")
    await until(lambda: engine.passes)
    tasks += asked(detecting, engine, b"1", b"bad", b"unreadable", b"2")
    await until(lambda: sum(len(waiting) for waiting in detecting._waiting.values()) == 3)
    engine.let_go(5)
    *_, bad, unreadable, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert (str(bad), type(unreadable)) == ("no numbers", UnreadablePhotoError)
    assert not isinstance(last, BaseException)
    assert last[0][0].label == "2"


async def test_a_scan_that_is_given_up_leaves_the_others_their_answers(detecting: Detecting) -> None:
    engine = Gathering()
    tasks = asked(detecting, engine, b"0")
    await until(lambda: engine.passes)
    given_up, kept = asked(detecting, engine, b"1", b"2")
    await until(lambda: sum(len(waiting) for waiting in detecting._waiting.values()) == 2)
    given_up.cancel()
    engine.let_go(2)
    assert (await kept)[0][0].label == "2"
    await asyncio.gather(*tasks)


async def test_threads_that_are_shut_down_leave_nobody_waiting() -> None:
    engine, threads = Gathering(), ThreadPoolExecutor(1)
    detecting = Detecting(threads)
    running = asked(detecting, engine, b"0")
    await until(lambda: engine.passes)
    waiting = asked(detecting, engine, b"1")
    stopping = asyncio.create_task(asyncio.to_thread(threads.shutdown, wait=True, cancel_futures=True))
    engine.let_go(2)
    await asyncio.gather(*running, stopping, return_exceptions=True)
    async with asyncio.timeout(90):
        (outcome,) = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcome, BaseException)


async def test_an_engine_of_one_photo_a_pass_takes_each_by_itself(detecting: Detecting) -> None:
    boxes, _, _ = await detecting(FakeEngine((0.9, 0.8)), b"photo")
    assert [box.confidence for box in boxes] == [0.9, 0.8]
