"""The product as it is served, for a benchmark: gateway and vision as processes, a broker, folder and SQLite, our own network answering every scan."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil  # type: ignore[import-untyped]  # comes with ultralytics, which the benchmarks need anyway
import pytest
import structlog

from benchmarks.photo_to_boxes import sure_model
from benchmarks.scan_round_trip import process, wait_for, wait_for_file
from savo_detection.engines.selection import Engines
from savo_detection.model import Detector
from savo_runtime.messaging.kafka.embedded import EmbeddedBroker
from savo_runtime.messaging.kafka.topics import ensure_topics
from savo_runtime.settings import RuntimeSettings
from tests.parts.kafka import temporary_kafka

__all__ = [
    "PATIENCE",
    "Broker",
    "Post",
    "Product",
    "answering_with",
    "best_engine",
    "broker",
    "form_of",
    "one_of_many",
    "product",
    "unlike",
]

BOUNDARY = "savo-bench"
PATIENCE = 60.0
"""Seconds."""
FORM = f"multipart/form-data; boundary={BOUNDARY}"

Post = Callable[[httpx2.AsyncClient, bytes], Awaitable[Any]]
"""One photo, as a form, to whoever answers with boxes."""


@dataclass(frozen=True)
class Broker:
    settings: RuntimeSettings
    words: str

    def as_environment(self) -> dict[str, str]:
        return {
            "SAVO_KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka_bootstrap_servers,
            "SAVO_EMBEDDED_BROKER": str(self.settings.embedded_broker).lower(),
        }


@contextmanager
def broker() -> Iterator[Broker]:
    """A real Kafka where one can run, else the embedded broker."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        with temporary_kafka() as kafka:
            settings = RuntimeSettings(kafka_bootstrap_servers=kafka.bootstrap_servers)
            asyncio.run(ensure_topics(settings))
            yield Broker(settings, "Apache Kafka")
    except pytest.skip.Exception as why:
        with EmbeddedBroker() as embedded:
            settings = RuntimeSettings(kafka_bootstrap_servers=embedded.bootstrap_servers, embedded_broker=True)
            yield Broker(settings, f"embedded broker ({why.msg})")


@dataclass(frozen=True)
class Product:
    url: str
    vision_pid: int
    vision_log: Path

    def vision_megabytes(self) -> float:
        """Resident memory of the vision replica, MB = 10⁶ bytes."""
        return float(psutil.Process(self.vision_pid).memory_info().rss) / 1e6

    async def scan(self, client: httpx2.AsyncClient, form: bytes) -> dict[str, Any]:
        """The result of a scan that our own model answered. Anything else raises."""
        answer = await client.post(f"{self.url}/v1/scans?wait=25", content=form, headers={"content-type": FORM})
        scan = answer.json()
        assert answer.status_code == httpx2.codes.OK, answer.text
        result: dict[str, Any] = scan["result"]
        assert result is not None, f"the scan failed: {scan['error']}"
        assert result["served_by"] == "custom", f"the provider was asked: {result['fallback_reason']}"
        assert result["items"]
        return result

    async def until_it_answers(self, client: httpx2.AsyncClient, form: bytes) -> None:
        """A model that is still being loaded may leave the first scans to the provider."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(AssertionError):
                    await self.scan(client, form)
                    return


@contextmanager
def product(folder: Path, port: int, broker: Broker, settings: dict[str, str]) -> Iterator[Product]:
    """Ready to scan. `settings` are vision's and the gateway's."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "vision.log"
    environment = {
        "SAVO_DATA_DIR": str(folder),
        **broker.as_environment(),
        "SAVO_RATE_LIMIT_PER_MINUTE": "0",
        "SAVO_LOG_LEVEL": "warning",
        "GOOGLE_API_KEY": "never-asked",
        "SAVO_USE_CUSTOM_VISION": "true",
        **settings,
    }
    with (
        process(["-m", "savo_runtime", "vision"], environment, log=log) as vision,
        process(["-m", "savo_runtime", "gateway"], environment | {"PORT": str(port)}, log=folder / "gateway.log"),
    ):
        place = folder / "run" / "vision.json"
        wait_for_file(place)
        wait_for(f"{json.loads(place.read_text())['url']}/readyz")
        wait_for(f"http://127.0.0.1:{port}/readyz")
        yield Product(f"http://127.0.0.1:{port}", vision, log)


def best_engine() -> str:
    """What vision takes here by itself."""
    return Detector.load(sure_model(), engines=Engines("auto")).choice.engine


def answering_with(model: str) -> dict[str, str]:
    """Vision's settings for one model of the operator's that answers everyone."""
    return {"SAVO_CUSTOM_VISION_MODEL_PATH": model, "SAVO_CUSTOM_VISION_ROLLOUT": "1"}


def form_of(photo: bytes) -> bytes:
    """The photo in the field `image`, as a form that every contender takes."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return head.encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()


def one_of_many(photo: bytes) -> Iterator[bytes]:
    """Forms, each with a photo that nobody has sent before: no store and no cache may know it."""
    return (form_of(unlike(photo, number)) for number in itertools.count())


def unlike(jpeg: bytes, number: int) -> bytes:
    """The same scene with other bytes: the last steps of its first quantisation table are the digits of `number` (base 16) coarser."""
    start = jpeg.index(b"\xff\xdb") + 5
    table = bytearray(jpeg)
    for place in range(start + 60, start + 64):
        number, digit = divmod(number, 16)
        table[place] = min(255, table[place] + digit)
    return bytes(table)
