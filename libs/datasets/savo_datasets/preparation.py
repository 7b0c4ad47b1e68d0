"""Preparation of a data set from a folder of labelled photos: found, checked, grouped, split and written."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from savo_datasets.errors import DatasetError
from savo_datasets.groups import GROUPS_FILE, Grouping, Photo, difference_hash, group_photos, write_groups
from savo_datasets.labels import read_labels
from savo_datasets.splits import SPLITS, assign_splits
from savo_datasets.yolo_folder import labels_path, no_labelled_photo, photo_files
from savo_datasets.yolo_writer import place_photo, require_empty, write_description

__all__ = ["CheckedPhoto", "FoundPhotos", "Prepared", "find_photos", "prepare", "report"]


@dataclass(frozen=True)
class CheckedPhoto:
    """A photo with a valid label file."""

    path: Path
    labels: str
    """Text of the checked label file, with polygons replaced by their bounding boxes."""
    hash: int
    """64-bit difference hash."""


@dataclass(frozen=True)
class FoundPhotos:
    """The usable photos of a folder."""

    photos: tuple[CheckedPhoto, ...]
    left_out: Mapping[str, int]
    """Number of unusable photos, by reason."""


@dataclass(frozen=True)
class Prepared:
    """A prepared data set on disk, with its counts."""

    counts: Mapping[str, int]
    """Photos by split."""
    groups: Mapping[str, int]
    """Groups by split."""
    boxes: Mapping[str, int]
    """Boxes by split."""
    left_out: Mapping[str, int]
    """Number of unusable photos, by reason."""
    data: Path
    """Path of dataset.yaml."""


def find_photos(folder: Path, classes: Sequence[str]) -> FoundPhotos:
    """Every labelled photo of a folder once, in order of path.

    Raises `DatasetError` for a folder without a labelled photo, and with file and line for an invalid label.
    """
    photos: list[CheckedPhoto] = []
    left_out: Counter[str] = Counter()
    digests: set[str] = set()
    for path in photo_files(folder):
        found = _check_photo(path, classes, digests)
        if isinstance(found, CheckedPhoto):
            photos.append(found)
        else:
            left_out[found] += 1
    if not photos:
        raise no_labelled_photo(folder)
    return FoundPhotos(tuple(photos), dict(left_out))


def prepare(
    found: FoundPhotos,
    classes: Sequence[str],
    output: Path,
    shares: Sequence[float],
    grouping: Grouping,
    seed: int,
) -> Prepared:
    """Split the photos and write the data set to `output`, a new or empty folder.

    `shares`: fractions of train, val and test. Raises `DatasetError` when there are fewer groups than splits or
    `output` is not empty.
    """
    photos = [Photo(photo.path.stem, photo.hash) for photo in found.photos]
    groups = group_photos(photos, grouping)
    splits = _assign(groups, shares, seed)
    require_empty(output)
    output.mkdir(parents=True, exist_ok=True)
    for photo, split in zip(found.photos, splits, strict=True):
        place_photo(photo.path, photo.labels, split, output)
    write_groups(output / GROUPS_FILE, [photo.name for photo in photos], splits, groups)
    data = write_description(output, classes)
    return report(splits, groups, [photo.labels for photo in found.photos], found.left_out, data)


def report(
    splits: Sequence[str],
    groups: Sequence[str],
    labels: Sequence[str],
    left_out: Mapping[str, int],
    data: Path,
) -> Prepared:
    """Counts of a data set, from the split, group and label file of each photo in the same order."""
    boxes: Counter[str] = Counter()
    members: dict[str, set[str]] = {split: set() for split in SPLITS}
    for split, group, text in zip(splits, groups, labels, strict=True):
        boxes[split] += text.count("\n")
        members[split].add(group)
    return Prepared(
        counts={split: splits.count(split) for split in SPLITS},
        groups={split: len(members[split]) for split in SPLITS},
        boxes={split: boxes[split] for split in SPLITS},
        left_out=dict(left_out),
        data=data,
    )


def _check_photo(path: Path, classes: Sequence[str], digests: set[str]) -> CheckedPhoto | str:
    """The photo, or why it is left out. Its digest is added to `digests`, those of the photos before it."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest in digests:
        return "the same file twice"
    digests.add(digest)
    labels = labels_path(path)
    if labels is None:
        return "no label file"
    perceptual_hash = difference_hash(content)
    if perceptual_hash is None:
        return "unreadable"
    return CheckedPhoto(path, read_labels(labels, len(classes)), perceptual_hash)


def _assign(groups: Sequence[str], shares: Sequence[float], seed: int) -> list[str]:
    try:
        return assign_splits(groups, shares, seed)
    except ValueError as error:
        next_step = (
            "give --groups FILE.csv, fewer splits such as --split 0.8 0.2 0, "
            "or --session-gap 0 --no-near-duplicates if the photos are unrelated"
        )
        raise DatasetError(
            f"{error}. Photos are grouped by --groups, file name and near-duplicates: {next_step}"
        ) from error
