"""A vision replica's memory while it answers scan after scan: how much at most, and whether it grows.

With ONNX Runtime, and on a GPU where there is one.

`make bench-long` asks for 10,000 scans. Growth is between the medians of the second tenth of them and of the last: in the first, memory fills that stays.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.load import ask_by, http_client
from benchmarks.measuring import Figure, interval, rounds
from benchmarks.photo_to_boxes import photos, sure_model
from benchmarks.product import Product, answering_with, best_engine, broker, one_of_many, product
from savo_detection.engines.backends import ONNX_RUNTIME

SCANS = rounds(2500)
CLIENTS = 4
LOOKS = 100
"""How often the memory is read."""
MOST = 400.0
PORT = 18481


def figures() -> Iterator[Figure]:
    for number, engine in enumerate(dict.fromkeys((ONNX_RUNTIME, best_engine()))):
        settings = {
            **answering_with(str(sure_model().resolve())),
            "SAVO_DETECTION_ENGINE": engine,
            "SAVO_LOG_LEVEL": "info",
            "SAVO_LOG_FORMAT": "json",
        }
        with (
            tempfile.TemporaryDirectory(prefix="savo-bench-", ignore_cleanup_errors=True) as folder,
            broker() as brokered,
            product(Path(folder), PORT + number, brokered, settings) as served,
        ):
            megabytes = asyncio.run(_watch(served))
            chosen = _engine_of(served)
        tenth = LOOKS // 10
        early, late = statistics.median(megabytes[tenth : 2 * tenth]), statistics.median(megabytes[-tenth:])
        note = f"{SCANS:,} scans; {late - early:+.1f} MB from the second tenth of them ({early:.0f}) to the last ({late:.0f}); yolov8n by {chosen}"
        ratios = [MOST / one for one in megabytes]
        name = f"vision's memory (RSS) with {engine}, at most"
        yield Figure(
            name, "MB", max(megabytes), "the most allowed", MOST, MOST / max(megabytes), *interval(ratios), note
        )


def _engine_of(served: Product) -> str:
    """As vision says in its log."""
    events = (json.loads(line) for line in served.vision_log.read_text().splitlines() if line.startswith("{"))
    return str(next(event["engine"] for event in events if event["event"] == "engine.chosen"))


async def _watch(served: Product) -> list[float]:
    """MB = 10⁶ bytes, after each hundredth of the scans."""
    megabytes, forms = [], one_of_many(photos()["512 px"])
    async with http_client() as client:
        await served.until_it_answers(client, next(forms))
        for _ in range(LOOKS):
            await ask_by(CLIENTS, lambda: served.scan(client, next(forms)), SCANS // LOOKS)
            megabytes.append(served.vision_megabytes())
    return megabytes
