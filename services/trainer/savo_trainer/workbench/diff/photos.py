"""The photos that two models are compared on: a split of a dataset.yaml, a folder, or the newest holdout of the object store."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from savo_contracts.documents import ManifestLine
from savo_contracts.samples import Split
from savo_datasets.errors import DatasetError
from savo_datasets.groups import SUBJECTS_FILE, Grouping, read_groups, session_groups
from savo_datasets.labels import truth_boxes
from savo_datasets.yolo_folder import labelled_photos, photo_files, read_classes, read_data_yaml, split_photos
from savo_detection.evaluation.evaluator import Truth
from savo_runtime.storage.port import ObjectStore
from savo_trainer.training.dataset import download_photos, image_path, labels_path, read_manifest

__all__ = ["ComparedPhoto", "PhotoSet", "newest_holdout", "photos_of"]

_MANIFEST = re.compile(r"^datasets/(?P<version>ds-(?P<number>\d+))/manifest\.jsonl$")
_DATA_FILES = ("dataset.yaml", "data.yaml")


@dataclass(frozen=True)
class ComparedPhoto:
    name: str
    group: str
    """Its subject or session: photos of one group are drawn together in the bootstrap."""
    path: Path
    truth: Truth | None
    """None: nobody labelled it."""


@dataclass(frozen=True)
class PhotoSet:
    name: str
    """In words."""
    photos: Sequence[ComparedPhoto]


def photos_of(data: Path, split: str) -> PhotoSet:
    """`data`: a dataset.yaml, a folder with one, a folder with labels and a classes.txt or data.yaml, or one of bare photos. Raises `DatasetError`."""
    if not data.exists():
        raise DatasetError(
            f"{data} does not exist: give a dataset.yaml as `savo prepare` writes it, or a folder of photos"
        )
    if data.is_file():
        return _split(data, split)
    described = next((data / name for name in _DATA_FILES if (data / name).exists()), None)
    if described and _has_split(described, split):
        return _split(described, split)
    if described or any(
        data.rglob("classes.txt")
    ):  # a data.yaml as tools export it may name folders that are not there
        return _labelled(data)
    bare = photo_files(data)
    if not bare:
        raise DatasetError(f"{data} holds no photo")
    return PhotoSet(
        f"{data}, without labels",
        [ComparedPhoto(path.relative_to(data).as_posix(), path.stem, path, None) for path in bare],
    )


async def newest_holdout(store: ObjectStore, folder: Path) -> PhotoSet:
    """The test photos of the newest frozen data set, brought to `folder`: no model of ours was ever trained on them. Raises `DatasetError`."""
    versions = [found async for info in store.list("datasets/") if (found := _MANIFEST.match(info.key))]
    if not versions:
        raise DatasetError(
            "no data set was frozen here yet, so there is no holdout to compare on: give --data dataset.yaml, or a folder of photos"
        )
    version = max(versions, key=lambda found: int(found["number"]))["version"]
    lines = [line for line in await read_manifest(version, store) if line.split is Split.TEST]
    kept, classes = await download_photos(lines, store, folder)
    if not kept:
        raise DatasetError(
            f"the holdout of {version} holds no photo any more: give --data dataset.yaml, or a folder of photos"
        )
    return PhotoSet(f"the holdout of {version}", [_holdout_photo(line, classes.names, folder) for line, _ in kept])


def _split(described: Path, split: str) -> PhotoSet:
    photos = split_photos(read_data_yaml(described), split)
    rows = [ComparedPhoto(photo.path.name, photo.group, photo.path, photo.truth) for photo in photos]
    return PhotoSet(f"{described}, split {split}", rows)


def _has_split(described: Path, split: str) -> bool:
    data = read_data_yaml(described)
    return bool(data.get(split)) and (Path(data["path"]) / str(data[split])).is_dir()


def _labelled(folder: Path) -> PhotoSet:
    """All labelled photos, grouped as `savo prepare` would: by subjects.csv where there is one, else by session."""
    found = list(labelled_photos(folder, read_classes(folder)))
    sessions = session_groups([photo.path.stem for photo in found], Grouping().session_gap)
    named = read_groups(folder / SUBJECTS_FILE)
    rows = [
        ComparedPhoto(
            photo.path.relative_to(folder).as_posix(), named.get(photo.path.stem, session), photo.path, photo.truth
        )
        for photo, session in zip(found, sessions, strict=True)
    ]
    return PhotoSet(str(folder), rows)


def _holdout_photo(line: ManifestLine, names: Sequence[str], folder: Path) -> ComparedPhoto:
    truth = truth_boxes(labels_path(line, folder).read_text(encoding="utf-8"), names)
    return ComparedPhoto(line.sha256, line.subject, image_path(line, folder), truth)
