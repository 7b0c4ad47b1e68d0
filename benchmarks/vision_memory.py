"""Benchmark: memory of a vision replica over thousands of scans, its maximum and its growth.

It runs with ONNX Runtime, and on a GPU if there is one. `make bench-long` makes 10,000 scans. Growth is the difference
of the medians in the last and in the second tenth of the scans, because the first tenth fills buffers that stay.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.load import http_client, run_load
from benchmarks.measurement import Figure, interval, rounds
from benchmarks.photo_to_boxes import confident_model, photos
from benchmarks.product_process import Product, best_engine, broker, custom_model_settings, distinct_forms, product
from savo_detection.engines.backends import ONNX_RUNTIME

SCANS = rounds(2500)
CLIENTS = 4
READINGS = 100
"""Number of memory readings."""
LIMIT_MB = 400.0
PORT = 18481


def figures() -> Iterator[Figure]:
    for number, engine in enumerate(dict.fromkeys((ONNX_RUNTIME, best_engine()))):
        settings = {
            **custom_model_settings(str(confident_model().resolve())),
            "SAVO_DETECTION_ENGINE": engine,
            "SAVO_LOG_LEVEL": "info",
            "SAVO_LOG_FORMAT": "json",
        }
        with (
            tempfile.TemporaryDirectory(prefix="savo-bench-", ignore_cleanup_errors=True) as folder,
            broker() as running_broker,
            product(Path(folder), PORT + number, running_broker, settings) as served,
        ):
            megabytes = asyncio.run(_watch(served))
            chosen = _engine_of(served)
        tenth = READINGS // 10
        early, late = statistics.median(megabytes[tenth : 2 * tenth]), statistics.median(megabytes[-tenth:])
        growth = f"{late - early:+.1f} MB from the second tenth ({early:.0f}) to the last ({late:.0f})"
        note = f"{SCANS:,} scans; {growth}; yolov8n by {chosen}"
        ratios = [LIMIT_MB / reading for reading in megabytes]
        name = f"vision's memory (RSS) with {engine}, at most"
        yield Figure(name, "MB", max(megabytes), "limit", LIMIT_MB, LIMIT_MB / max(megabytes), *interval(ratios), note)


def _engine_of(served: Product) -> str:
    """The engine in vision's log."""
    events = (json.loads(line) for line in served.vision_log.read_text().splitlines() if line.startswith("{"))
    return str(next(event["engine"] for event in events if event["event"] == "engine.chosen"))


async def _watch(served: Product) -> list[float]:
    """MB = 10⁶ bytes, after each hundredth of the scans."""
    megabytes, forms = [], distinct_forms(photos()["512 px"])
    async with http_client() as client:
        await served.wait_for_custom_model(client, next(forms))
        for _ in range(READINGS):
            await run_load(CLIENTS, lambda: served.scan(client, next(forms)), SCANS // READINGS)
            megabytes.append(served.vision_megabytes())
    return megabytes
