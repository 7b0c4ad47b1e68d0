"""A data set version on the local disk, in ultralytics' layout.

    <folder>/frozen/<sha256>.txt    label files as they were frozen, with the permanent ids of samples/classes.json
    <folder>/images/<split>/<sha256>.jpg   labels/<split>/<sha256>.txt   data.yaml

The outputs of a network are consecutive: only the classes that occur, after redirects, ordered by id. So the files are
written in two passes: the first fetches photos and label files and collects the classes, the second writes label files
with the outputs. The run's results keep the mapping.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from savo_contracts.documents import ClassList, ManifestLine
from savo_contracts.samples import Split
from savo_datasets.class_map import ClassMap, class_map, map_labels
from savo_datasets.errors import DatasetError
from savo_datasets.labels import count_classes, parse_labels
from savo_datasets.yolo_writer import write_data_yaml
from savo_runtime.storage.concurrency import map_limited
from savo_runtime.storage.port import ObjectNotFoundError, ObjectStore
from savo_trainer.errors import RunImpossibleError
from savo_trainer.versions.catalogue import version_classes
from savo_trainer.versions.freeze import FrozenDataset, check_splits, frozen_labels_path
from savo_trainer.versions.manifest import PAGE, ManifestFile, write_manifest

__all__ = ["Erased", "LocalDataset", "download_dataset", "download_photos", "image_path", "labels_path"]

Erased = Callable[[Sequence[str]], Awaitable[set[str]]]
"""Returns those of the given sha256 whose samples were erased."""


@dataclass(frozen=True)
class LocalDataset:
    """A data set version on the local disk."""

    data: Path
    """Path of data.yaml."""
    classes: ClassMap
    counts: Mapping[Split, int]
    train_boxes: Mapping[str, int]
    """Training boxes by label."""
    holdout: ManifestFile
    left_out: int
    """Samples of the manifest that were erased after the freeze or, in a version of an earlier release, relabelled."""


@dataclass(frozen=True)
class DownloadedPhotos:
    """Photos and label files in a local folder."""

    kept: ManifestFile
    """The lines whose samples still exist."""
    classes: ClassMap
    counts: Mapping[Split, int]
    labelled: Mapping[Split, int]
    """Of `counts`, the photos with at least one box."""
    train_boxes: Mapping[str, int]
    """Training boxes by label."""


async def no_erasures(_: Sequence[str]) -> set[str]:
    """For a caller without the index of samples. A photo that is not in the store is left out all the same."""
    return set()


async def download_dataset(
    frozen: FrozenDataset, store: ObjectStore, folder: Path, erased: Erased = no_erasures
) -> LocalDataset:
    """Download the version's photos and labels to `folder`. Files that are there already are kept.

    Samples that do not exist any more as they were frozen are left out, and their local files are removed.
    Raises `RunImpossibleError`, also without a class list.
    """
    classes = ClassList.model_validate_json(await version_classes(frozen.version, store))
    photos = await download_photos(frozen.manifest, classes, store, folder, erased)
    check_splits(photos.labelled)  # a background sample has no label to train on or to measure
    total = await asyncio.to_thread(lambda: sum(1 for _ in frozen.manifest))
    present = [split.value for split in Split if photos.counts[split]]
    data = write_data_yaml(folder / "data.yaml", photos.classes.names, present=present)
    left_out = total - sum(photos.counts.values())
    holdout = photos.kept.of(Split.TEST)
    return LocalDataset(data, photos.classes, photos.counts, photos.train_boxes, holdout, left_out)


async def download_photos(
    lines: Iterable[ManifestLine],
    classes: ClassList,
    store: ObjectStore,
    folder: Path,
    erased: Erased = no_erasures,
) -> DownloadedPhotos:
    """Download the photos and label files of these lines to `folder`.

    Raises `RunImpossibleError` for a class that the class list does not have.
    """
    await asyncio.to_thread(_make_folders, folder)
    kept, occurring = await _fetch(lines, store, folder, erased)
    mapping = _class_map(occurring, classes)
    return await asyncio.to_thread(_write_dense_labels, kept, mapping, folder)


def image_path(line: ManifestLine, folder: Path) -> Path:
    return folder / "images" / line.split / f"{line.sha256}{PurePosixPath(line.image_key).suffix}"


def labels_path(line: ManifestLine, folder: Path) -> Path:
    return folder / "labels" / line.split / f"{line.sha256}.txt"


def _make_folders(folder: Path) -> None:
    frozen_labels_path("", folder).parent.mkdir(parents=True, exist_ok=True)
    for kind in ("images", "labels"):
        for split in Split:
            (folder / kind / split).mkdir(parents=True, exist_ok=True)


async def _fetch(
    lines: Iterable[ManifestLine], store: ObjectStore, folder: Path, erased: Erased
) -> tuple[ManifestFile, set[int]]:
    """Fetch photos and label files. Returns the lines of what exists, and the class ids that occur."""
    occurring = set[int]()
    requested = map_limited(_with_local_files(lines, folder, erased), lambda local: _fetch_sample(local, store, folder))
    async with aclosing(requested) as fetched:
        kept = await write_manifest(folder / "kept.jsonl", _existing(fetched, occurring))
    return kept, occurring


@dataclass(frozen=True)
class _Local:
    """A line, and what is on the disk of its sample."""

    line: ManifestLine
    labels: bytes | None
    """The label file, where it is as it was frozen."""
    has_photo: bool
    is_erased: bool


async def _with_local_files(lines: Iterable[ManifestLine], folder: Path, erased: Erased) -> AsyncIterator[_Local]:
    rows = iter(lines)
    while page := await asyncio.to_thread(lambda: list(islice(rows, PAGE))):
        gone = await erased([line.sha256 for line in page])
        for local in await asyncio.to_thread(_local_files, page, folder, gone):
            yield local


def _local_files(page: Sequence[ManifestLine], folder: Path, gone: set[str]) -> list[_Local]:
    """For many lines at a time: a call of a thread costs more than the look at two files."""
    return [
        _Local(line, _frozen_labels(line, folder), image_path(line, folder).exists(), line.sha256 in gone)
        for line in page
    ]


def _frozen_labels(line: ManifestLine, folder: Path) -> bytes | None:
    try:
        labels = frozen_labels_path(line.sha256, folder).read_bytes()
    except FileNotFoundError:
        return None
    return labels if hashlib.sha256(labels).hexdigest() == line.labels_sha256 else None


async def _existing(
    fetched: AsyncIterable[tuple[ManifestLine, set[int] | None]], occurring: set[int]
) -> AsyncIterator[ManifestLine]:
    """The lines of samples that exist. Adds their class ids to `occurring`."""
    async for line, ids in fetched:
        if ids is not None:
            occurring |= ids
            yield line


async def _fetch_sample(local: _Local, store: ObjectStore, folder: Path) -> tuple[ManifestLine, set[int] | None]:
    """The line with the class ids of its label file; None where the sample does not exist as it was frozen."""
    line = local.line
    ids = None if local.is_erased else await _fetch_labels(line, local.labels, store, folder)
    if ids is None or not (local.has_photo or await _fetch_photo(line, store, folder)):
        await asyncio.to_thread(_remove_sample, line, folder)
        return line, None
    return line, ids


async def _fetch_labels(line: ManifestLine, local: bytes | None, store: ObjectStore, folder: Path) -> set[int] | None:
    """Class ids of the label file as it was frozen; None when it was erased, was changed or is invalid."""
    labels = local
    try:
        if labels is None:
            labels = await store.get(line.labels_key)
            await asyncio.to_thread(frozen_labels_path(line.sha256, folder).write_bytes, labels)
        ids = set(count_classes(labels.decode()))
    except (ObjectNotFoundError, ValueError):
        return None
    return ids if hashlib.sha256(labels).hexdigest() == line.labels_sha256 else None


async def _fetch_photo(line: ManifestLine, store: ObjectStore, folder: Path) -> bool:
    """False when the photo was erased."""
    try:
        await store.download(line.image_key, image_path(line, folder))
    except ObjectNotFoundError:
        return False
    return True


def _remove_sample(line: ManifestLine, folder: Path) -> None:
    for path in (image_path(line, folder), labels_path(line, folder), frozen_labels_path(line.sha256, folder)):
        path.unlink(missing_ok=True)


def _write_dense_labels(kept: ManifestFile, mapping: ClassMap, folder: Path) -> DownloadedPhotos:
    """Write the label files with the network's outputs, and count."""
    counts, labelled, boxes = dict.fromkeys(Split, 0), dict.fromkeys(Split, 0), Counter[str]()
    for line in kept:
        frozen = frozen_labels_path(line.sha256, folder).read_text(encoding="utf-8")
        text = map_labels(frozen, mapping)
        labels_path(line, folder).write_text(text, encoding="utf-8")
        counts[line.split] += 1
        labelled[line.split] += bool(text)
        if line.split is Split.TRAIN:
            boxes.update(mapping.names[label.class_id] for label in parse_labels(text))
    return DownloadedPhotos(kept, mapping, counts, labelled, dict(boxes))


def _class_map(occurring: Iterable[int], classes: ClassList) -> ClassMap:
    """Raises `RunImpossibleError` for a class id that the class list does not have."""
    try:
        return class_map(occurring, classes)
    except DatasetError as error:
        raise RunImpossibleError(str(error), error.next_steps) from error
