"""A gateway and a collector on one object store in memory: imports go in, exports come out, without a broker."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from savo_collector.app import build
from savo_collector.settings import CollectorSettings
from savo_contracts.envelope import Envelope, Event
from savo_contracts.samples import SampleErased, SampleRejected, SampleStored
from savo_contracts.scans import ScanConfirmed
from savo_operations.imports.data_set import ImportOptions, read_data_set
from savo_operations.imports.photo_import import ImportReport, PhotoImport
from savo_operations.imports.sources import open_source
from savo_runtime.messaging.publishing.publisher import OutgoingRecord
from savo_runtime.service import Service
from savo_runtime.testing import memory_runtime
from services.gateway.tests.harness import GatewayHarness, running_gateway

__all__ = ["Product", "label_line", "running_product", "unpacked", "write_photo"]

LENIENT: Any = {"collect_training_data": True, "min_sharpness": 0, "min_side": 16}


class BrokenConnectionError(Exception):
    """The channel is broken, as by a kill of the import."""


@dataclass
class Product:
    """Implements the import's `Channel`: the collector handles each record at once."""

    gateway: GatewayHarness
    collector: Service
    confirmed: list[ScanConfirmed] = field(default_factory=list)
    rejected: list[SampleRejected] = field(default_factory=list)
    breaks_after: int | None = None

    async def send(self, records: Sequence[OutgoingRecord]) -> None:
        for record in records:
            if self.breaks_after is not None and len(self.confirmed) >= self.breaks_after:
                raise BrokenConnectionError
            assert record.value is not None
            envelope = Envelope.decode(ScanConfirmed, record.value, record.headers)
            assert envelope.source == "cli"
            self.confirmed.append(envelope.event)
            await self._collect(envelope)

    async def _collect(self, envelope: Envelope[ScanConfirmed]) -> None:
        (handle,) = [each.handle for each in self.collector.subscriptions if each.topic.event is ScanConfirmed]
        outcome = await handle(envelope)
        for event in [outcome] if isinstance(outcome, Event) else outcome or ():
            if isinstance(event, SampleStored | SampleErased):
                await self.gateway.deliver(event)
            if isinstance(event, SampleRejected):
                self.rejected.append(event)

    async def run_import(self, source: Path, *, dry_run: bool = False, **options: Any) -> ImportReport:
        chosen = ImportOptions(**options)
        async with open_source(str(source), source.parent / "work") as folder:
            data = read_data_set(folder, chosen, lambda _count: None)
            channel = None if dry_run else self
            return await PhotoImport(self.gateway.store, channel, chosen, self.gateway.clock).run(data)

    async def export(self, folder: Path) -> Path:
        """An archive of all samples."""
        answer = await self.gateway.http.get("/training/export")
        assert answer.status_code == 200
        path = folder / "training_data.tar.gz"
        path.write_bytes(answer.content)
        return path


@asynccontextmanager
async def running_product() -> AsyncIterator[Product]:
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(running_gateway({}))
        runtime = await stack.enter_async_context(
            memory_runtime("collector", migrations="savo_collector.migrations", clock=gateway.clock)
        )
        runtime = replace(runtime, store=gateway.store)
        yield Product(gateway, build(CollectorSettings(**LENIENT), runtime))


def unpacked(archive: Path) -> dict[str, bytes]:
    """Content of images/ and labels/ by name."""
    with tarfile.open(archive) as tar:
        files = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
    return {name: content for name, content in files.items() if name.startswith(("images/", "labels/"))}


def write_photo(folder: Path, name: str, labels: str, seed: int, exif: Image.Exif | None = None) -> Path:
    """A photo that looks like no other, with its YOLO label file."""
    blocks = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8)
    pixels = cv2.resize(blocks, (320, 240), interpolation=cv2.INTER_NEAREST)
    path = folder / "images" / f"{name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=90, exif=exif or Image.Exif())
    path.write_bytes(content.getvalue())
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / f"{name}.txt").write_text(labels)
    return path


def label_line(class_id: int, number: int = 0) -> str:
    """A line of a label file; each number has another box."""
    return f"{class_id} {0.3 + number / 97:.6f} 0.4 {0.2 + number / 89:.6f} 0.3333\n"
