"""Data set versions: frozen once from the index of samples, then downloaded in ultralytics' layout.

    datasets/ds-000001/manifest.jsonl     one line for each sample, ordered by sha256; written once, never changed
    <run>/dataset/images/<split>/<sha256>.jpg   labels/<split>/<sha256>.txt   data.yaml

Stored label files use the permanent class ids of samples/classes.json. A network's outputs are dense: only the classes
that occur, after redirects, ordered by id. The run's facts keep the mapping.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from savo_contracts.documents import CLASSES_KEY, ClassList, ManifestLine, manifest_key
from savo_contracts.samples import Split
from savo_datasets.class_map import ClassMap, class_map, dense_labels
from savo_datasets.errors import DatasetError
from savo_datasets.labels import parse_labels
from savo_datasets.yolo_writer import write_data_yaml
from savo_runtime.storage.concurrency import gather_limited
from savo_runtime.storage.port import ObjectNotFoundError
from savo_trainer.errors import RunImpossibleError
from savo_trainer.ports import IndexedSample, ObjectStore, VersionNumbers

__all__ = ["FrozenDataset", "LocalDataset", "download_dataset", "download_photos", "freeze", "read_manifest"]

RESTORE_CLASSES = "Restore samples/classes.json from a backup: it may only grow."
COLLECT_FROM_MORE_PEOPLE = (
    "Collect samples from more people: all photos of a person go to one split (70/20/10), "
    "and anonymous photos to train."
)


@dataclass(frozen=True)
class FrozenDataset:
    """A data set version and the lines of its manifest."""

    version: str
    lines: tuple[ManifestLine, ...]


@dataclass(frozen=True)
class LocalDataset:
    """A data set version on the local disk."""

    data: Path
    """Path of data.yaml."""
    classes: ClassMap
    counts: Mapping[Split, int]
    train_boxes: Mapping[str, int]
    """Training boxes by label."""
    holdout: tuple[ManifestLine, ...]
    left_out: int
    """Samples of the manifest that were erased or relabelled after the freeze."""


async def freeze(
    run_id: str, samples: Sequence[IndexedSample], store: ObjectStore, numbers: VersionNumbers
) -> FrozenDataset:
    """Write the manifest of the run's data set version, once.

    Raises `RunImpossibleError` without training or holdout samples.
    """
    lines = await _lines(samples, store)
    _check_splits(lines)
    manifest, version = _encode(lines), await numbers.dataset_version(run_id)
    while not await _write_once(manifest_key(version), manifest, store):
        # The bucket has a version that this database does not know: take the next number.
        version = await numbers.dataset_version(run_id, above=int(version.removeprefix("ds-")))
    return FrozenDataset(version, lines)


async def read_manifest(version: str, store: ObjectStore) -> tuple[ManifestLine, ...]:
    """Raises `ObjectNotFoundError`."""
    return _decode(await store.get(manifest_key(version)))


async def download_dataset(frozen: FrozenDataset, store: ObjectStore, folder: Path) -> LocalDataset:
    """Download the version's photos and labels to `folder`. Photos that are there already are kept.

    A sample whose label file changed after the freeze is left out. Raises `RunImpossibleError`.
    """
    kept, mapping = await download_photos(frozen.lines, store, folder)
    _check_splits(line for line, text in kept if text)  # a background sample has no label to train or to measure
    return _local_dataset(kept, mapping, folder, left_out=len(frozen.lines) - len(kept))


async def download_photos(
    lines: Sequence[ManifestLine], store: ObjectStore, folder: Path
) -> tuple[list[tuple[ManifestLine, str]], ClassMap]:
    """Download the photos and label files of these lines to `folder`.

    Returns the lines that still exist, each with its stored label file, and the mapping of their classes.
    Raises `RunImpossibleError`.
    """
    classes = ClassList.model_validate_json(await _classes_document(store))
    labels = await gather_limited(lines, lambda line: _label_text(line, store))
    present = [(line, text) for line, text in zip(lines, labels, strict=True) if text is not None]
    mapping = _class_map((label.class_id for _, text in present for label in parse_labels(text)), classes)
    fetched = await gather_limited(
        present, lambda pair: _download_photo(pair[0], dense_labels(pair[1], mapping), store, folder)
    )
    return [pair for pair, exists in zip(present, fetched, strict=True) if exists], mapping


def _class_map(occurring: Iterable[int], classes: ClassList) -> ClassMap:
    """Raises `RunImpossibleError` for a class id that the class list does not have."""
    try:
        return class_map(occurring, classes)
    except DatasetError as error:
        raise RunImpossibleError(str(error), error.next_steps) from error


def image_path(line: ManifestLine, folder: Path) -> Path:
    return folder / "images" / line.split / f"{line.sha256}{PurePosixPath(line.image_key).suffix}"


def labels_path(line: ManifestLine, folder: Path) -> Path:
    return folder / "labels" / line.split / f"{line.sha256}.txt"


async def _lines(samples: Sequence[IndexedSample], store: ObjectStore) -> tuple[ManifestLine, ...]:
    """Ordered by sha256, so that the same samples give the same bytes. Leaves out samples erased meanwhile."""
    ordered = sorted(samples, key=lambda sample: sample.sha256)
    lines = await gather_limited(ordered, lambda sample: _line(sample, store))
    return tuple(line for line in lines if line is not None)


async def _line(sample: IndexedSample, store: ObjectStore) -> ManifestLine | None:
    try:
        labels = await store.get(sample.labels_key)
    except ObjectNotFoundError:
        return None
    return ManifestLine(
        sha256=sample.sha256,
        split=sample.split,
        subject=sample.subject,
        image_key=sample.image_key,
        labels_key=sample.labels_key,
        labels_sha256=hashlib.sha256(labels).hexdigest(),
        revision=sample.revision,
    )


async def _write_once(key: str, manifest: bytes, store: ObjectStore) -> bool:
    """Whether the object has exactly these bytes: written by this call, or by the same run before a crash."""
    return await store.put_if_absent(key, manifest, media_type="application/jsonl") or await store.get(key) == manifest


def _encode(lines: Sequence[ManifestLine]) -> bytes:
    return "".join(line.model_dump_json() + "\n" for line in lines).encode()


def _decode(manifest: bytes) -> tuple[ManifestLine, ...]:
    return tuple(ManifestLine.model_validate_json(line) for line in manifest.splitlines())


def _check_splits(lines: Iterable[ManifestLine]) -> None:
    counts = Counter(line.split for line in lines)
    for split, purpose in ((Split.TRAIN, "to train on"), (Split.TEST, "to measure on")):
        if not counts[split]:
            sizes = ", ".join(f"{each.value} {counts[each]}" for each in Split)
            raise RunImpossibleError(f"there is no sample {purpose} ({sizes})", (COLLECT_FROM_MORE_PEOPLE,))


async def _classes_document(store: ObjectStore) -> bytes:
    try:
        return await store.get(CLASSES_KEY)
    except ObjectNotFoundError:
        raise RunImpossibleError(
            f"{CLASSES_KEY} is missing: class ids in label files have no names", (RESTORE_CLASSES,)
        ) from None


async def _label_text(line: ManifestLine, store: ObjectStore) -> str | None:
    """The label file as it was frozen; None when it was erased, was relabelled or is invalid."""
    try:
        labels = await store.get(line.labels_key)
        text = labels.decode()
        parse_labels(text)
    except (ObjectNotFoundError, ValueError):
        return None
    return text if hashlib.sha256(labels).hexdigest() == line.labels_sha256 else None


async def _download_photo(line: ManifestLine, labels: str, store: ObjectStore, folder: Path) -> bool:
    """False when the photo was erased."""
    image, text = image_path(line, folder), labels_path(line, folder)
    image.parent.mkdir(parents=True, exist_ok=True)
    text.parent.mkdir(parents=True, exist_ok=True)
    if not image.exists():
        try:
            await store.download(line.image_key, image)
        except ObjectNotFoundError:
            return False
    text.write_text(labels, encoding="utf-8")
    return True


def _local_dataset(
    kept: Sequence[tuple[ManifestLine, str]], mapping: ClassMap, folder: Path, *, left_out: int
) -> LocalDataset:
    boxes = Counter(
        mapping.names[mapping.output_of_class_id[label.class_id]]
        for line, text in kept
        if line.split is Split.TRAIN
        for label in parse_labels(text)
    )
    counts = Counter(line.split for line, _ in kept)
    holdout = tuple(line for line, _ in kept if line.split is Split.TEST)
    data = write_data_yaml(
        folder / "data.yaml", mapping.names, present=[split.value for split in Split if counts[split]]
    )
    return LocalDataset(data, mapping, {split: counts[split] for split in Split}, dict(boxes), holdout, left_out)
