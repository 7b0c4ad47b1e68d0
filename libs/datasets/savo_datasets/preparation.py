"""Preparation of a data set from a folder of labelled photos: found, checked, grouped, split and written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from savo_datasets import app_folder, yolo_folder
from savo_datasets.class_table import ClassTable, class_table
from savo_datasets.found_photos import FoundPhotos
from savo_datasets.groups import GROUPS_FILE, Grouping, group_photos, write_groups
from savo_datasets.labels import count_classes
from savo_datasets.sessions import Photo
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
    table: ClassTable
    unboxed: Mapping[str, int] = field(default_factory=dict)
    """Photos with an item without a box, by split. A model that finds such an item is counted wrong."""


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

    `shares`: fractions of train, val and test. `link`: see `place_photo`. Raises `DatasetError` when `output` is not
    empty.
    """
    photos = [Photo(photo.path.stem, photo.signature, photo.capture) for photo in found.photos]
    boxes = [count_classes(photo.labels) for photo in found.photos]
    expected = [split for split, share in zip(SPLITS, shares, strict=True) if share > 0]
    groups = group_photos(photos, grouping, boxes, len(expected))
    splits = assign_splits(groups.groups, shares, seed, boxes)
    table = class_table(found.classes, boxes, splits, groups, expected=expected)
    require_empty(output)
    output.mkdir(parents=True, exist_ok=True)
    for photo, split in zip(found.photos, splits, strict=True):
        place_photo(photo.path, photo.labels, split, output, link=link)
    write_groups(output / GROUPS_FILE, [photo.name for photo in photos], splits, groups)
    table.write(output)
    data = write_description(output, found.classes, present=[split for split in SPLITS if split in splits])
    prepared = report(splits, groups.groups, table, found.left_out.counts(), data)
    unboxed = Counter(split for photo, split in zip(photos, splits, strict=True) if photo.name in found.unboxed)
    return replace(prepared, unboxed={split: unboxed[split] for split in SPLITS})


def report(
    splits: Sequence[str],
    groups: Sequence[str],
    table: ClassTable,
    left_out: Mapping[str, int],
    data: Path,
) -> Prepared:
    """Counts of a data set, from the split and group of each photo in the same order, and its class table."""
    members: dict[str, set[str]] = {split: set() for split in SPLITS}
    for split, group in zip(splits, groups, strict=True):
        members[split].add(group)
    photos = Counter(splits)
    return Prepared(
        counts={split: photos[split] for split in SPLITS},
        groups={split: len(members[split]) for split in SPLITS},
        boxes={split: sum(count[split] for count in table.boxes.values()) for split in SPLITS},
        left_out=dict(left_out),
        data=data,
        table=table,
    )
