"""Benchmark: latency that HTTP, Kafka and storage add to one detection.

It is the time of a complete scan minus the time of the detection alone. The gateway checks and stores the photo, vision
detects and stores the result, the gateway stores and returns it, with Kafka in between. The detection alone runs in
this process, on the same engine, in the same rounds. Storage is a folder and SQLite, then versitygw and PostgreSQL.
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

from benchmarks.load import http_client, run_load
from benchmarks.measurement import RESAMPLES, SEED, Figure, percentile_interval, rounds
from benchmarks.photo_to_boxes import confident_model, photos
from benchmarks.product_process import Broker, Product, broker, custom_model_settings, distinct_forms, product
from savo_detection.detector import Detector
from savo_detection.engines.selection import Engines
from tests.parts.postgres import temporary_postgres
from tests.parts.s3 import temporary_versitygw

ROUNDS = rounds(12)
SCANS = 12
"""Scans in a round."""
LIMIT_MS = 12.0
PORT = 18471

Stores = Callable[[Path], AbstractContextManager[dict[str, str]]]
"""Starts storage and yields the settings that name it."""


@dataclass
class RoundMedians:
    """Medians of each round, in milliseconds."""

    scan: list[float] = field(default_factory=list)
    detection: list[float] = field(default_factory=list)

    def added(self, round_indexes: Sequence[int]) -> float:
        return statistics.median(self.scan[index] - self.detection[index] for index in round_indexes)


def figures() -> Iterator[Figure]:
    detector = Detector.load(confident_model(), engines=Engines("auto"))
    with (
        broker() as running_broker,
        tempfile.TemporaryDirectory(prefix="savo-bench-", ignore_cleanup_errors=True) as folder,
    ):
        for number, (storage, stores) in enumerate(STORAGE.items()):
            with _served(
                Path(folder) / str(number), PORT + number, running_broker, stores, detector.choice.engine
            ) as served:
                medians = asyncio.run(_measure(served, detector))
            yield _figure(medians, f"{storage}; {detector.choice.engine}; {running_broker.description}")


@contextmanager
def _served(folder: Path, port: int, running_broker: Broker, stores: Stores, engine: str) -> Iterator[Product]:
    ours = {**custom_model_settings(str(confident_model().resolve())), "SAVO_DETECTION_ENGINE": engine}
    with stores(folder) as settings, product(folder, port, running_broker, ours | settings) as served:
        yield served


@contextmanager
def _folder_and_sqlite(_folder: Path) -> Iterator[dict[str, str]]:
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


STORAGE: dict[str, Stores] = {"folder, SQLite": _folder_and_sqlite, "versitygw, PostgreSQL": _servers}


async def _measure(served: Product, detector: Detector) -> RoundMedians:
    """The first round is a warm-up and is not counted."""
    medians, photo = RoundMedians(), photos()["512 px"]
    forms = distinct_forms(photo)
    async with http_client() as client:
        for number in range(-1, ROUNDS):
            scans = await run_load(1, lambda: served.scan(client, next(forms)), SCANS)
            detections = [_seconds_of(partial(detector.detect, photo)) for _ in range(SCANS)]
            if number >= 0:
                medians.scan.append(1000 * statistics.median(scans.seconds))
                medians.detection.append(1000 * statistics.median(detections))
    return medians


def _seconds_of(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _figure(medians: RoundMedians, note: str) -> Figure:
    draw, round_indexes = random.Random(SEED), range(len(medians.scan))
    added = medians.added(round_indexes)
    ratios = sorted(
        LIMIT_MS / medians.added(draw.choices(round_indexes, k=len(round_indexes))) for _ in range(RESAMPLES)
    )
    parts = f"scan {statistics.median(medians.scan):.1f} ms, detection {statistics.median(medians.detection):.1f} ms"
    return Figure(
        "added to one detection, p50",
        "ms",
        added,
        "limit",
        LIMIT_MS,
        LIMIT_MS / added,
        *percentile_interval(ratios),
        f"{parts}; {note}",
    )
