"""The product under a benchmark: gateway and vision as processes, a broker, folder and SQLite."""

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

from benchmarks.photo_to_boxes import confident_model
from benchmarks.scan_round_trip import process, wait_for, wait_for_file
from savo_detection.detector import Detector
from savo_detection.engines.selection import Engines
from savo_runtime.messaging.kafka.embedded import EmbeddedBroker
from savo_runtime.messaging.kafka.topics import ensure_topics
from savo_runtime.settings import RuntimeSettings
from tests.parts.kafka import temporary_kafka

__all__ = [
    "READY_SECONDS",
    "Broker",
    "Post",
    "Product",
    "best_engine",
    "broker",
    "custom_model_settings",
    "distinct_forms",
    "distinct_jpeg",
    "form_of",
    "product",
]

BOUNDARY = "savo-bench"
READY_SECONDS = 60.0
FORM = f"multipart/form-data; boundary={BOUNDARY}"

Post = Callable[[httpx2.AsyncClient, bytes], Awaitable[Any]]
"""Sends one photo, as a form, and returns the answer with its boxes."""


@dataclass(frozen=True)
class Broker:
    """A running broker."""

    settings: RuntimeSettings
    description: str

    def as_environment(self) -> dict[str, str]:
        return {
            "SAVO_KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka_bootstrap_servers,
            "SAVO_EMBEDDED_BROKER": str(self.settings.embedded_broker).lower(),
        }


@contextmanager
def broker() -> Iterator[Broker]:
    """A real Kafka if one can run, otherwise the embedded broker."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        with temporary_kafka() as kafka:
            settings = RuntimeSettings(kafka_bootstrap_servers=kafka.bootstrap_servers)
            asyncio.run(ensure_topics(settings))
            yield Broker(settings, "Apache Kafka")
    except pytest.skip.Exception as skipped:
        with EmbeddedBroker() as embedded:
            settings = RuntimeSettings(kafka_bootstrap_servers=embedded.bootstrap_servers, embedded_broker=True)
            yield Broker(settings, f"embedded broker ({skipped.msg})")


@dataclass(frozen=True)
class Product:
    """A running gateway and vision."""

    url: str
    vision_pid: int
    vision_log: Path

    def vision_megabytes(self) -> float:
        """Resident memory of the vision replica, MB = 10⁶ bytes."""
        return float(psutil.Process(self.vision_pid).memory_info().rss) / 1e6

    async def scan(self, client: httpx2.AsyncClient, form: bytes) -> dict[str, Any]:
        """The result of a scan. Raises `AssertionError` unless the custom model answered it."""
        answer = await client.post(f"{self.url}/v1/scans?wait=25", content=form, headers={"content-type": FORM})
        scan = answer.json()
        assert answer.status_code == httpx2.codes.OK, answer.text
        result: dict[str, Any] = scan["result"]
        assert result is not None, f"the scan failed: {scan['error']}"
        assert result["served_by"] == "custom", f"the provider was asked: {result['fallback_reason']}"
        assert result["items"]
        return result

    async def wait_for_custom_model(self, client: httpx2.AsyncClient, form: bytes) -> None:
        """Scan until the custom model answers: while it loads, the provider may answer."""
        async with asyncio.timeout(READY_SECONDS):
            while True:
                with suppress(AssertionError):
                    await self.scan(client, form)
                    return


@contextmanager
def product(folder: Path, port: int, broker: Broker, settings: dict[str, str]) -> Iterator[Product]:
    """Start gateway and vision with `settings`, and yield when both are ready."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "vision.log"
    environment = {
        "SAVO_DATA_DIR": str(folder),
        **broker.as_environment(),
        "SAVO_RATE_LIMIT_PER_MINUTE": "0",
        "SAVO_LOG_LEVEL": "warning",
        "GOOGLE_API_KEY": "unused",
        "SAVO_USE_CUSTOM_VISION": "true",
        **settings,
    }
    with (
        process(["-m", "savo_runtime", "vision"], environment, log=log) as vision,
        process(["-m", "savo_runtime", "gateway"], environment | {"PORT": str(port)}, log=folder / "gateway.log"),
    ):
        address = folder / "run" / "vision.json"
        wait_for_file(address)
        wait_for(f"{json.loads(address.read_text())['url']}/readyz")
        wait_for(f"http://127.0.0.1:{port}/readyz")
        yield Product(f"http://127.0.0.1:{port}", vision, log)


def best_engine() -> str:
    """The engine that vision uses on this machine by default."""
    return Detector.load(confident_model(), engines=Engines("auto")).choice.engine


def custom_model_settings(model: str) -> dict[str, str]:
    """Settings with which a model file answers every scan."""
    return {"SAVO_CUSTOM_VISION_MODEL_PATH": model, "SAVO_CUSTOM_VISION_ROLLOUT": "1"}


def form_of(photo: bytes) -> bytes:
    """The photo as a multipart form with the field `image`, which every contender accepts."""
    disposition = 'Content-Disposition: form-data; name="image"; filename="photo.jpg"'
    head = f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: image/jpeg\r\n\r\n"
    return head.encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()


def distinct_forms(photo: bytes) -> Iterator[bytes]:
    """Forms with a different photo each, so that no store and no cache has it."""
    return (form_of(distinct_jpeg(photo, number)) for number in itertools.count())


def distinct_jpeg(jpeg: bytes, number: int) -> bytes:
    """The same scene with other bytes: `number` changes the last four steps of the first quantisation table."""
    start = jpeg.index(b"\xff\xdb") + 5
    table = bytearray(jpeg)
    for place in range(start + 60, start + 64):
        number, digit = divmod(number, 16)
        table[place] = min(255, table[place] + digit)
    return bytes(table)
