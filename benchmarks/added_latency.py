"""What HTTP, Kafka and the stores add to one detection: a scan's whole way, one at a time, less the detection of the same photo by itself.

A scan is checked, stored, carried through Kafka, detected, kept in vision's database, carried back, kept in the gateway's database and answered.
The detection by itself runs in this process on the same engine, in turns of the same round. Once with a folder and SQLite, once with versitygw and PostgreSQL.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.load import ask_by, http_client
from benchmarks.measuring import RESAMPLES, SEED, Figure, middle_95, rounds
from benchmarks.photo_to_boxes import photos, sure_model
from benchmarks.product import Broker, Product, answering_with, broker, one_of_many, product
from savo_detection.engines.selection import Engines
from savo_detection.model import Detector
from tests.parts.postgres import temporary_postgres
from tests.parts.s3 import temporary_versitygw

ROUNDS = rounds(12)
SCANS = 12
"""In a round."""
LIMIT_MS = 12.0
PORT = 18471

Stores = Callable[[Path], AbstractContextManager[dict[str, str]]]
"""Settings of the product that name them; they end with the block."""


@dataclass
class Seen:
    """Medians of each round, milliseconds."""

    scan: list[float] = field(default_factory=list)
    detection: list[float] = field(default_factory=list)

    def added(self, turns: Sequence[int]) -> float:
        return statistics.median(self.scan[turn] - self.detection[turn] for turn in turns)


def figures() -> Iterator[Figure]:
    detector = Detector.load(sure_model(), engines=Engines("auto"))
    with broker() as brokered, tempfile.TemporaryDirectory(prefix="savo-bench-", ignore_cleanup_errors=True) as folder:
        for number, (words, stores) in enumerate({"folder, SQLite": _own, "versitygw, PostgreSQL": _servers}.items()):
            with _served(Path(folder) / str(number), PORT + number, brokered, stores, detector.choice.engine) as served:
                seen = asyncio.run(_measure(served, detector))
            yield _figure(seen, f"{words}; {detector.choice.engine}; {brokered.words}")


@contextmanager
def _served(folder: Path, port: int, brokered: Broker, stores: Stores, engine: str) -> Iterator[Product]:
    ours = {**answering_with(str(sure_model().resolve())), "SAVO_DETECTION_ENGINE": engine}
    with stores(folder) as kept, product(folder, port, brokered, ours | kept) as served:
        yield served


@contextmanager
def _own(_folder: Path) -> Iterator[dict[str, str]]:
    yield {}


@contextmanager
def _servers(folder: Path) -> Iterator[dict[str, str]]:
    objects = folder / "versitygw"
    objects.mkdir(parents=True)
    with ExitStack() as stack:
        database = stack.enter_context(temporary_postgres())
        bucket = stack.enter_context(temporary_versitygw(objects))
        yield {
            "SAVO_DATABASE_URL": database.new_database(),
            "SAVO_S3_ENDPOINT_URL": bucket.endpoint_url,
            "SAVO_S3_REGION": "us-east-1",
            "R2_BUCKET_NAME": bucket.bucket,
            "R2_ACCESS_KEY_ID": bucket.access_key_id,
            "R2_SECRET_ACCESS_KEY": bucket.secret_access_key,
        }


async def _measure(served: Product, detector: Detector) -> Seen:
    """The first round is for warming up."""
    seen, photo = Seen(), photos()["512 px"]
    forms = one_of_many(photo)
    async with http_client() as client:
        for turn in range(-1, ROUNDS):
            scans = await ask_by(1, lambda: served.scan(client, next(forms)), SCANS)
            detections = [_seconds_of(partial(detector.detect, photo)) for _ in range(SCANS)]
            if turn >= 0:
                seen.scan.append(1000 * statistics.median(scans.seconds))
                seen.detection.append(1000 * statistics.median(detections))
    return seen


def _seconds_of(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _figure(seen: Seen, note: str) -> Figure:
    draw, turns = random.Random(SEED), range(len(seen.scan))
    added = seen.added(turns)
    ratios = sorted(LIMIT_MS / seen.added(draw.choices(turns, k=len(turns))) for _ in range(RESAMPLES))
    of_which = (
        f"a scan {statistics.median(seen.scan):.1f} ms, the detection alone {statistics.median(seen.detection):.1f} ms"
    )
    return Figure(
        "added to one detection, p50",
        "ms",
        added,
        "the most allowed",
        LIMIT_MS,
        LIMIT_MS / added,
        *middle_95(ratios),
        f"{of_which}; {note}",
    )
