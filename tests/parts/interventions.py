"""Interventions in a running product: injected records and models, a held database lock, killed processes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from savo_contracts.documents import model_key
from savo_contracts.envelope import Envelope, Event
from savo_contracts.models import ModelRegistered
from savo_contracts.training import Evaluation
from savo_runtime.messaging.publishing.publisher import record_of
from tests.parts.wheel import Wheel

_HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=rw", uri=True, isolation_level=None, timeout=30)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(600)
"""


def kafka_of(wheel: Wheel) -> str:
    return str(json.loads((wheel.data_dir / "run/up.json").read_text())["kafka"])


async def send(
    wheel: Wheel, topic: str, value: bytes, headers: Sequence[tuple[str, bytes]] = (), key: bytes = b"by-hand"
) -> RecordMetadata:
    """Publish any bytes, also such that no service can decode."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka_of(wheel))
    await producer.start()
    try:
        return await producer.send_and_wait(topic, value, key=key, headers=list(headers))
    finally:
        await producer.stop()


async def publish(wheel: Wheel, event: Event) -> None:
    """Publish an event as the service that owns the topic would."""
    record = record_of(Envelope.new(event, "by-hand", event_id=uuid4(), time=datetime.now(UTC)))
    headers = [(name, value or b"") for name, value in record.headers]
    await send(wheel, record.topic, record.value or b"", headers, record.key or b"")


async def register(wheel: Wheel, version: str, onnx: bytes, classes: tuple[str, ...], map50: float = 0.8) -> None:
    """Store a model and publish that it is registered."""
    key = model_key(version, "model.onnx")
    path = wheel.data_dir / "objects" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(onnx)
    evaluation = Evaluation(map50=map50, map50_lower=map50 - 0.04, map50_upper=map50 + 0.04, images=40, boxes=200)
    registered = ModelRegistered(
        version=version,
        key=key,
        sha256=hashlib.sha256(onnx).hexdigest(),
        classes=classes,
        run_id=f"run-{version}",
        dataset_version="ds-000001",
        bytes=len(onnx),
        image_size=64,
        evaluation=evaluation,
        registered_at=datetime.now(UTC),
    )
    await publish(wheel, registered)


@contextmanager
def held_write_lock(database: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with an open write transaction on a SQLite file."""
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(database)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        yield holder
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def kill_standin(wheel: Wheel) -> None:
    """Send SIGKILL to the stand-in of this `savo up`, which restarts it."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _is_standin_of(entry, wheel.process.pid):
            os.kill(int(entry.name), signal.SIGKILL)


def _is_standin_of(entry: Path, parent: int) -> bool:
    try:
        arguments = (entry / "cmdline").read_bytes().split(b"\0")
        status = (entry / "status").read_text()
    except OSError:
        return False
    return b"savo_demo.standin" in arguments and f"PPid:\t{parent}\n" in status
