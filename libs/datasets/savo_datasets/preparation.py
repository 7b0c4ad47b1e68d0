"""Preparation of a data set from a folder of labelled photos: found, checked, grouped, split and written."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from savo_datasets import app_folder
from savo_datasets.class_table import ClassTable, class_table
from savo_datasets.formats import reading
from savo_datasets.formats.new_folder import new_folder
from savo_datasets.formats.samples import Sample
from savo_datasets.found_photos import CheckedPhoto, FoundPhotos
from savo_datasets.groups import GROUPS_FILE, Grouping, group_photos, write_groups
from savo_datasets.labels import count_classes, format_labels
from savo_datasets.sessions import Photo, read_capture
from savo_datasets.signatures import signature_of
from savo_datasets.splits import SPLITS, assign_splits
from savo_datasets.synthetic import is_synthetic
from savo_datasets.yolo_folder import no_labelled_photo_error
from savo_datasets.yolo_writer import place_photo, write_description

__all__ = ["OnRead", "Prepared", "count_prepared", "find_photos", "prepare"]

OnRead = Callable[[int], None]
"""Receives the number of photos read so far."""


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
    synthetic: int = 0
    """Photos that a program drew. Each of their groups is in train."""


def find_photos(folder: Path, on_read: OnRead = lambda _count: None) -> FoundPhotos:
    """Every usable photo of a folder once. What the folder holds decides which reader reads it.

    `on_read` receives the number of photos read so far. Raises `DatasetError` like the reader, and for a folder without
    a usable photo.
    """
    if reading.is_app_folder(folder):
        return app_folder.find_photos(folder)
    source = reading.open_samples(folder)
    photos: list[CheckedPhoto] = []
    groups: dict[str, str] = {}
    digests: set[bytes] = set()
    for count, sample in enumerate(source.samples, start=1):
        found = _checked(sample, source.classes, digests)
        if isinstance(found, CheckedPhoto):
            photos.append(found)
            if sample.group is not None:
                groups[found.path.stem] = sample.group
        else:
            source.left_out.add(found, str(sample.path))
        on_read(count)
    if not photos:
        raise no_labelled_photo_error(folder, source.left_out)
    return FoundPhotos(source.classes, tuple(photos), source.left_out, groups)


def _checked(sample: Sample, classes: Sequence[str], digests: set[bytes]) -> CheckedPhoto | str:
    """The photo, or why it is left out. Its digest is added to `digests`, those of the photos before it."""
    assert sample.path is not None
    try:
        content = sample.path.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    digest = hashlib.sha256(content).digest()
    if digest in digests:
        return "the same file twice"
    signature = signature_of(content)
    if signature is None:
        return "unreadable"
    digests.add(digest)
    labels = format_labels(sample.boxes, classes)
    return CheckedPhoto(sample.path, labels, signature, read_capture(content), is_synthetic(content))


def prepare(
    found: FoundPhotos,
    output: Path,
    shares: Sequence[float],
    grouping: Grouping,
    seed: int,
    *,
    link: bool = False,
) -> Prepared:
    """Split the photos and write the data set to `output`, a new or empty folder. Synthetic photos go to train.

    `shares`: fractions of train, val and test. `link`: see `place_photo`. The folder appears complete or not at all.
    Raises `DatasetError` when `output` is not empty.
    """
    photos = [Photo(photo.path.stem, photo.signature, photo.capture) for photo in found.photos]
    boxes = [count_classes(photo.labels) for photo in found.photos]
    expected = [split for split, share in zip(SPLITS, shares, strict=True) if share > 0]
    groups = group_photos(photos, grouping, boxes, len(expected))
    synthetic = {group for group, photo in zip(groups.groups, found.photos, strict=True) if photo.synthetic}
    splits = assign_splits(groups.groups, shares, seed, boxes, synthetic)
    table = class_table(found.classes, boxes, splits, groups, expected=expected, train_only=synthetic)
    present = [split for split in SPLITS if split in splits]
    with new_folder(output) as building:
        for photo, split in zip(found.photos, splits, strict=True):
            place_photo(photo.path, photo.labels, split, building, link=link)
        write_groups(building / GROUPS_FILE, [photo.name for photo in photos], splits, groups)
        table.write(building)
        data = write_description(building, found.classes, root=output, present=present)
    prepared = count_prepared(splits, groups.groups, table, found.left_out.counts(), output / data.name)
    unboxed = Counter(split for photo, split in zip(photos, splits, strict=True) if photo.name in found.unboxed)
    return replace(
        prepared,
        unboxed={split: unboxed[split] for split in SPLITS},
        synthetic=sum(photo.synthetic for photo in found.photos),
    )


def count_prepared(
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
