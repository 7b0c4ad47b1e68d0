"""Benchmark: `savo export` of 200 MB of samples (2 GB with --long) over HTTP, to a file. Peer: `tar -cf` of the files.

The gateway runs in a process of its own, with a folder store and SQLite. Its peak memory is in the note. The photos are
random bytes of a phone photo's size: nothing here decodes them.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from benchmarks.measurement import Figure, long_run, paired_speedup, run_interleaved
from savo_cli.exports.download import Download
from savo_cli.gateway import Gateway
from savo_contracts.documents import (
    CLASSES_KEY,
    ClassList,
    IngredientClass,
    LabelledBox,
    SampleMeta,
    sample_image_key,
    sample_labels_key,
    sample_meta_key,
)
from savo_contracts.geometry import BoundingBox
from savo_contracts.samples import Split
from savo_gateway.adapters.tables import SampleRow
from savo_gateway.app import build
from savo_gateway.settings import GatewaySettings
from savo_runtime.database import Database, insert_all
from savo_runtime.http.server import HttpServer
from savo_runtime.schema import migrate
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.folder import FolderStore
from savo_runtime.testing import memory_runtime
from tests.parts.memory import peak_rss_mb

ROUNDS = 3
PHOTO_BYTES = 284_000
PHOTOS = 7000 if long_run() else 700
STORED_AT = datetime(2026, 3, 2, tzinfo=UTC)


def figures() -> Iterator[Figure]:
    # Beside the repository rather than in /tmp, which is a file system in memory on some machines.
    with tempfile.TemporaryDirectory(prefix=".benchmark-export-", dir=os.environ.get("BENCH_DIR", ".")) as name:
        folder = Path(name).resolve()
        asyncio.run(_fill(folder))
        with _serving(folder) as (url, pid):
            seconds = run_interleaved(
                {"export": lambda: _export(url, folder), "tar": lambda: _tar(folder)}, rounds=ROUNDS, warm_up=1
            )
            note = f"peak memory: gateway {peak_rss_mb(pid):.0f} MB, client {peak_rss_mb(os.getpid()):.0f} MB"
        size = f"{PHOTOS * PHOTO_BYTES / 1e9:.1f} GB"
        yield paired_speedup(f"savo export of {size}", seconds["export"], "tar -cf", seconds["tar"], note=note)


async def _fill(folder: Path) -> None:
    """Samples as the collector stores them, and their rows as the gateway projects them."""
    objects = folder / "objects"
    for kind in ("images", "labels", "meta"):
        (objects / "samples" / kind).mkdir(parents=True)
    classes = ClassList(classes=(IngredientClass(id=0, label="egg"),))
    (objects / CLASSES_KEY).write_text(classes.model_dump_json())
    rows = [await asyncio.to_thread(_write_sample, objects, number) for number in range(PHOTOS)]
    database = Database.open(RuntimeSettings(data_dir=folder, database_url=None), "gateway")
    await migrate(database, "savo_gateway.migrations")
    async with database.session() as session:
        await insert_all(session, SampleRow, rows)
    await database.close()


def _write_sample(objects: Path, number: int) -> dict[str, object]:
    image = os.urandom(PHOTO_BYTES)
    digest = sha256(image).hexdigest()
    box = LabelledBox(
        class_id=0, label="egg", bbox=BoundingBox(x=0.1, y=0.2, width=0.3, height=0.4), box_source="google"
    )
    meta = SampleMeta(
        sha256=digest,
        scan_id=f"scan-{number}",
        subject=f"subject-{number % 100}",
        split=Split.TRAIN,
        media_type="image/jpeg",
        width=1200,
        height=900,
        boxes=(box,) * 5,
        served_by="google",
        model_version="gemini",
        perceptual_hash="0" * 16,
        stored_at=STORED_AT,
    )
    (objects / sample_image_key(digest, "image/jpeg")).write_bytes(image)
    (objects / sample_labels_key(digest)).write_text("0 0.25000000 0.40000000 0.30000000 0.40000000\n" * 5)
    (objects / sample_meta_key(digest)).write_text(meta.model_dump_json(indent=1))
    return {
        "sha256": digest,
        "scan_id": meta.scan_id,
        "detections": 5,
        "bytes": PHOTO_BYTES,
        "revision": 1,
        "erased": False,
        "first_stored_at": STORED_AT,
        "changed_at": STORED_AT,
    }


def _export(url: str, folder: Path) -> None:
    output = folder / "training_data.tar.gz"
    with Gateway(url) as gateway:
        summary = Download(gateway, {}, output).run(lambda _done, _total: None)
    assert summary.samples == PHOTOS
    output.unlink()


def _tar(folder: Path) -> None:
    output = folder / "peer.tar"
    samples = folder / "objects" / "samples"
    subprocess.run(["tar", "-C", str(samples), "-cf", str(output), "images", "labels"], check=True)
    output.unlink()


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[str, int]]:
    """URL and process id of a gateway."""
    command = [sys.executable, "-m", "benchmarks.export_samples", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield next(line.split()[1] for line in process.stdout if line.startswith("serving ")), process.pid
    finally:
        process.terminate()
        process.wait()


async def _serve(folder: Path) -> None:
    database = Database.open(RuntimeSettings(data_dir=folder, database_url=None), "gateway")
    async with memory_runtime("gateway", migrations="savo_gateway.migrations", database=database) as runtime:
        service = build(GatewaySettings(), replace(runtime, store=FolderStore(folder / "objects")))
        assert service.app is not None
        server = HttpServer("127.0.0.1", 0)
        await server.start(service.app, has_lifespan=False)
        sys.stdout.write(f"serving {server.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
