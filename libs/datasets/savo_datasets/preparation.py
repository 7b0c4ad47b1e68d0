"""Preparation of a data set from a folder of labelled photos: found, checked, grouped, split and written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from savo_datasets import app_folder, yolo_folder
from savo_datasets.errors import DatasetError
from savo_datasets.found_photos import FoundPhotos
from savo_datasets.groups import GROUPS_FILE, Grouping, Photo, group_photos, write_groups
from savo_datasets.splits import SPLITS, assign_splits
from savo_datasets.yolo_writer import place_photo, require_empty, write_description

__all__ = ["Prepared", "find_photos", "prepare", "report"]


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


def find_photos(folder: Path) -> FoundPhotos:
    """Every usable photo of a folder once. What the folder holds decides which reader reads it.

    Raises `DatasetError` like the reader.
    """
    is_app_folder = any(app_folder.label_files(folder)) and not yolo_folder.has_classes(folder)
    return app_folder.find_photos(folder) if is_app_folder else yolo_folder.find_photos(folder)


def prepare(
    found: FoundPhotos,
    output: Path,
    shares: Sequence[float],
    grouping: Grouping,
    seed: int,
    *,
    link: bool = False,
) -> Prepared:
    """Split the photos and write the data set to `output`, a new or empty folder.

    `shares`: fractions of train, val and test. `link`: see `place_photo`. Raises `DatasetError` when there are fewer
    groups than splits or `output` is not empty.
    """
    photos = [Photo(photo.path.stem, photo.hash) for photo in found.photos]
    groups = group_photos(photos, grouping)
    splits = _assign(groups, shares, seed, next_step=_more_groups(found))
    require_empty(output)
    output.mkdir(parents=True, exist_ok=True)
    for photo, split in zip(found.photos, splits, strict=True):
        place_photo(photo.path, photo.labels, split, output, link=link)
    write_groups(output / GROUPS_FILE, [photo.name for photo in photos], splits, groups)
    data = write_description(output, found.classes)
    return report(splits, groups, [photo.labels for photo in found.photos], found.left_out.counts(), data)


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


def _assign(groups: Sequence[str], shares: Sequence[float], seed: int, *, next_step: str) -> list[str]:
    try:
        return assign_splits(groups, shares, seed)
    except ValueError as error:
        raise DatasetError(f"{error}. {next_step}") from error


def _more_groups(found: FoundPhotos) -> str:
    if found.groups:
        return "A person's photos stay in one split: collect from more people, or give --groups FILE.csv"
    next_step = (
        "give --groups FILE.csv, fewer splits such as --split 0.8 0.2 0, "
        "or --session-gap 0 --no-near-duplicates if the photos are unrelated"
    )
    return f"Photos are grouped by --groups, file name and near-duplicates: {next_step}"
