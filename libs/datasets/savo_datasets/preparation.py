"""A folder of labelled photos cut into train, val and test: found, checked, grouped, dealt, written."""

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
    path: Path
    labels: str
    """Checked lines of the label file, polygons as their boxes."""
    hash: int
    """64-bit difference hash."""


@dataclass(frozen=True)
class FoundPhotos:
    photos: tuple[CheckedPhoto, ...]
    left_out: Mapping[str, int]
    """Photos not used, by reason."""


@dataclass(frozen=True)
class Prepared:
    """A data set on disk. Counts are by split."""

    counts: Mapping[str, int]
    """Photos."""
    groups: Mapping[str, int]
    boxes: Mapping[str, int]
    left_out: Mapping[str, int]
    """Photos not used, by reason."""
    data: Path
    """dataset.yaml."""


def find_photos(folder: Path, classes: Sequence[str]) -> FoundPhotos:
    """Every labelled photo once, in order of path. Raises `DatasetError` for a broken label file, naming the line."""
    photos: list[CheckedPhoto] = []
    left_out: Counter[str] = Counter()
    seen: set[str] = set()
    for path in photo_files(folder):
        found = _check_photo(path, classes, seen)
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
    """Write the data set to an empty `output`. Raises `DatasetError`."""
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
    """Sums over photos: their splits, groups and label files, in one order."""
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


def _check_photo(path: Path, classes: Sequence[str], seen: set[str]) -> CheckedPhoto | str:
    """The photo, or why it is left out. `seen`: digests of the photos before it."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest in seen:
        return "the same file twice"
    seen.add(digest)
    labels = labels_path(path)
    if labels is None:
        return "no label file"
    likeness = difference_hash(content)
    if likeness is None:
        return "unreadable"
    return CheckedPhoto(path, read_labels(labels, len(classes)), likeness)


def _assign(groups: Sequence[str], shares: Sequence[float], seed: int) -> list[str]:
    try:
        return assign_splits(groups, shares, seed)
    except ValueError as error:
        way_out = "give --groups FILE.csv, or --session-gap 0 if every name is a photo of its own"
        raise DatasetError(f"{error}. Names look like one session: {way_out}") from error
