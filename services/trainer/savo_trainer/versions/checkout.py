"""Checkout of a data set version: a folder with the photos and label files as they were frozen.

    images/<split>/<sha256>.jpg   labels/<split>/<sha256>.txt   classes.json  classes.txt  dataset.yaml
    subjects.csv   manifest.jsonl   and, where samples were erased, erased.txt with the sha256 of each

The person is the group of each photo, also for `savo prepare` and `savo import`. Label files keep the permanent
class ids, so classes.txt has all classes of that time.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from savo_contracts.documents import ClassList, ManifestLine
from savo_contracts.samples import Split
from savo_datasets.formats.new_folder import errors_named, require_empty
from savo_datasets.groups import SUBJECTS_FILE, write_subjects
from savo_datasets.yolo_writer import write_description
from savo_runtime.storage.concurrency import map_limited
from savo_runtime.storage.digests import file_sha256
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore
from savo_trainer.training.dataset import image_path, labels_path
from savo_trainer.versions.catalogue import fetch_version, version_classes
from savo_trainer.versions.manifest import ManifestFile

__all__ = ["CheckedOut", "checkout"]


@dataclass(frozen=True)
class CheckedOut:
    """What a checkout wrote."""

    samples: dict[str, int]
    """Number by split."""
    erased: tuple[str, ...]
    """sha256 of the samples that do not exist any more, or not as they were frozen."""


async def checkout(
    version: str, store: ObjectStore, output: Path, on_fetched: Callable[[int], None] = lambda _: None
) -> CheckedOut:
    """Write the version to `output`, a new or empty folder, which appears when it is complete.

    A repeat continues an interrupted checkout. Raises `DatasetError`, `UnknownVersionError`, and the store's errors.
    """
    await asyncio.to_thread(require_empty, output)
    building = output.parent / f".{output.name}.{version}"
    counts, erased = Counter[str](), list[str]()
    with errors_named(output):
        manifest = await fetch_version(version, store, building)
        classes = await version_classes(version, store)
        async with aclosing(_fetched(manifest, store, building)) as rows:
            async for line, exists in rows:
                counts[line.split.value] += exists
                if not exists:
                    erased.append(line.sha256)
                on_fetched(sum(counts.values()))
        await asyncio.to_thread(_complete, building, output, manifest, classes, counts, erased)
    return CheckedOut({split.value: counts[split.value] for split in Split}, tuple(erased))


async def _fetched(
    manifest: ManifestFile, store: ObjectStore, folder: Path
) -> AsyncGenerator[tuple[ManifestLine, bool], None]:
    """Each line, and whether its sample exists."""
    for kind in ("images", "labels"):
        for split in Split:
            await asyncio.to_thread((folder / kind / split).mkdir, parents=True, exist_ok=True)

    async def fetch(line: ManifestLine) -> tuple[ManifestLine, bool]:
        exists = await _fetch_labels(line, store, folder) and await _fetch_photo(line, store, folder)
        if not exists:
            await asyncio.to_thread(_remove, line, folder)
        return line, exists

    async with aclosing(map_limited(manifest, fetch)) as rows:
        async for row in rows:
            yield row


async def _fetch_labels(line: ManifestLine, store: ObjectStore, folder: Path) -> bool:
    """Also where the file is there from an interrupted checkout: the sample may be erased since."""
    try:
        labels = await store.get(line.labels_key)
    except ObjectNotFoundError:
        return False
    await asyncio.to_thread(labels_path(line, folder).write_bytes, labels)
    return hashlib.sha256(labels).hexdigest() == line.labels_sha256


async def _fetch_photo(line: ManifestLine, store: ObjectStore, folder: Path) -> bool:
    image = image_path(line, folder)
    if await asyncio.to_thread(image.exists):
        return True
    try:
        await store.download(line.image_key, image)
    except ObjectNotFoundError:
        return False
    return await asyncio.to_thread(file_sha256, image) == line.sha256


def _remove(line: ManifestLine, folder: Path) -> None:
    for path in (image_path(line, folder), labels_path(line, folder)):
        path.unlink(missing_ok=True)


def _complete(
    building: Path, output: Path, manifest: ManifestFile, classes: bytes, counts: Counter[str], erased: list[str]
) -> None:
    write_subjects(building / SUBJECTS_FILE, ((line.sha256, line.subject) for line in manifest))
    (building / "classes.json").write_bytes(classes)
    names = ClassList.model_validate_json(classes).names()
    write_description(building, names, root=output, present=[split.value for split in Split if counts[split.value]])
    (building / "erased.txt").unlink(missing_ok=True)
    if erased:
        (building / "erased.txt").write_text("".join(f"{sha256}\n" for sha256 in erased), encoding="utf-8")
    for folder in [building / kind / split for kind in ("images", "labels") for split in Split]:
        if not any(folder.iterdir()):
            folder.rmdir()
    if output.exists():
        output.rmdir()
    building.replace(output)
