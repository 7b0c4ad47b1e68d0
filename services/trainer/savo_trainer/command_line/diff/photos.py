"""Photos for a comparison: a split of a dataset.yaml, a folder, or the newest holdout of the object store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from savo_contracts.documents import ClassList, ManifestLine
from savo_contracts.samples import Split
from savo_datasets.errors import DatasetError
from savo_datasets.groups import SUBJECTS_FILE, Grouping, read_groups_if_any
from savo_datasets.labels import truth_boxes
from savo_datasets.sessions import session_groups
from savo_datasets.yolo_folder import labelled_photos, photo_files, read_classes, read_data_yaml, split_photos
from savo_detection.evaluation.evaluator import Truth
from savo_runtime.storage.port import ObjectStore
from savo_trainer.training.dataset import download_photos, image_path, labels_path
from savo_trainer.versions.catalogue import fetch_version, stored_versions, version_classes

__all__ = ["ComparedPhoto", "PhotoSet", "newest_holdout", "photos_of"]

_DATA_FILES = ("dataset.yaml", "data.yaml")


@dataclass(frozen=True)
class ComparedPhoto:
    name: str
    group: str
    """Subject or session. The bootstrap resamples whole groups."""
    path: Path
    truth: Truth | None
    """Labelled boxes; None for a photo without labels."""


@dataclass(frozen=True)
class PhotoSet:
    name: str
    """Description for the output."""
    photos: Sequence[ComparedPhoto]


def photos_of(data: Path, split: str) -> PhotoSet:
    """Photos of a path: a dataset.yaml, a folder with one, a folder with labels, or a folder of unlabelled photos.

    A folder with labels has a classes.txt or a data.yaml. Raises `DatasetError`.
    """
    if not data.exists():
        raise DatasetError(
            f"{data} does not exist: give a dataset.yaml as `savo prepare` writes it, or a folder of photos"
        )
    if data.is_file():
        return _split(data, split)
    described = next((data / name for name in _DATA_FILES if (data / name).exists()), None)
    if described and _has_split(described, split):
        return _split(described, split)
    # A data.yaml that a tool exported may name folders that do not exist.
    if described or any(data.rglob("classes.txt")):
        return _labelled(data)
    files = photo_files(data)
    if not files:
        raise DatasetError(f"{data} has no photos: give a dataset.yaml or a folder of photos")
    photos = [ComparedPhoto(path.relative_to(data).as_posix(), path.stem, path, None) for path in files]
    return PhotoSet(f"{data}, without labels", photos)


async def newest_holdout(store: ObjectStore, folder: Path) -> PhotoSet:
    """Download the test photos of the newest frozen data set to `folder`. The trainer never trains on them.

    Raises `DatasetError`.
    """
    versions = [version.name for version in await stored_versions(store) if version.is_complete]
    if not versions:
        raise DatasetError(
            "the object store has no frozen data set and so no holdout: give --data dataset.yaml, or a folder of photos"
        )
    version = versions[-1]
    manifest = await fetch_version(version, store, folder)
    classes = ClassList.model_validate_json(await version_classes(version, store))
    photos = await download_photos(manifest.of(Split.TEST), classes, store, folder)
    if not any(photos.counts.values()):
        raise DatasetError(
            f"the holdout of {version} has no photos any more: give --data dataset.yaml, or a folder of photos"
        )
    return PhotoSet(
        f"the holdout of {version}", [_holdout_photo(line, photos.classes.names, folder) for line in photos.kept]
    )


def _split(described: Path, split: str) -> PhotoSet:
    photos = split_photos(read_data_yaml(described), split)
    rows = [ComparedPhoto(photo.path.name, photo.group, photo.path, photo.truth) for photo in photos]
    return PhotoSet(f"{described}, split {split}", rows)


def _has_split(described: Path, split: str) -> bool:
    data = read_data_yaml(described)
    return bool(data.get(split)) and (Path(data["path"]) / str(data[split])).is_dir()


def _labelled(folder: Path) -> PhotoSet:
    """All labelled photos, grouped like in `savo prepare`: by subjects.csv if there is one, else by session."""
    found = list(labelled_photos(folder, read_classes(folder)))
    sessions = session_groups([photo.path.stem for photo in found], Grouping().session_gap)
    named = read_groups_if_any(folder / SUBJECTS_FILE)
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
