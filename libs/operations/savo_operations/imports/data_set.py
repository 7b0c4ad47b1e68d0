"""A data set that is to be imported: its photos with their items, in groups that belong in one split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from savo_contracts.documents import ClassList, RejectedBox
from savo_contracts.ingredients import normalise
from savo_datasets.archives import Unpacked
from savo_datasets.exports.unpacked_export import UnpackedExport, read_export
from savo_datasets.found_photos import CheckedPhoto, FoundPhotos
from savo_datasets.groups import Grouping, group_photos
from savo_datasets.labels import TruthBox, truth_boxes
from savo_datasets.preparation import find_photos
from savo_datasets.sessions import Photo

__all__ = ["DataSet", "ImportOptions", "NamedClass", "PhotoToImport", "read_data_set"]

NOT_LISTED = "not in manifest.jsonl: erased during the export"
BACKGROUND = "without a box: a background needs an item that a person removed"
UNKNOWN_CLASS = "a class that the catalogue lacks; --new-classes adds it"


@dataclass(frozen=True)
class ImportOptions:
    """How a data set is imported."""

    exhaustive: bool = True
    """False: the photos show ingredients without a label."""
    new_classes: bool | None = None
    """Whether names that the catalogue lacks become classes. None: only those of an export of the product."""
    consent: bool | None = None
    """Whether the people agreed to training; None: not stated."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """Group by photo name, instead of those of the data set."""
    session_gap: int = 20


@dataclass(frozen=True, slots=True)
class PhotoToImport:
    """A photo with its items by their labels in the product."""

    path: Path
    items: tuple[TruthBox, ...]
    exhaustive: bool
    rejected: tuple[RejectedBox, ...] = ()
    """Boxes of an earlier answer that were removed. A photo without items is a background only with one."""


@dataclass(frozen=True)
class NamedClass:
    """A class of the data set. `label`: in the product; None where the name has no letters."""

    name: str
    label: str | None
    known: bool
    """Whether the catalogue has it, or the product that exported it."""
    boxes: int


@dataclass(frozen=True)
class DataSet:
    """Photos in groups. The order is that of the names, so that a repeat sees the same."""

    groups: list[list[PhotoToImport]]
    train_only: list[bool]
    """By group: whether it has a photo that may be in train alone."""
    classes: list[NamedClass]
    class_list: ClassList
    """Of the product that exported the data set; else empty."""
    left_out: dict[str, list[str]]

    @property
    def photos(self) -> int:
        return sum(map(len, self.groups))

    def labels(self) -> list[str]:
        """The labels to import, in the order of their ids."""
        used = {box.label for group in self.groups for photo in group for box in photo.items}
        named = [named.label for named in self.classes if named.label]
        return [label for label in dict.fromkeys(named) if label in used]


def read_data_set(unpacked: Unpacked, options: ImportOptions, on_read: Callable[[int], None]) -> DataSet:
    """Read, check and group the photos of a folder. Raises `DatasetError`.

    Names of classes are matched through the catalogue; ids have no meaning outside their data set.
    """
    export = read_export(unpacked.folder)
    found = find_photos(unpacked.folder, on_read)
    left_out = unpacked.left_out.merged(found.left_out.files)
    accepted = options.new_classes if options.new_classes is not None else export is not None
    labels = {name: _label(name, accepted=accepted, export=export) for name in found.classes}
    groups = _grouped(found, options)
    photos: dict[str, list[PhotoToImport]] = {}
    train_only: dict[str, bool] = {}
    for checked, group in zip(found.photos, groups, strict=True):
        photo = _photo(checked, found, export, options, labels)
        if isinstance(photo, str):
            left_out.add(photo, str(checked.path.relative_to(unpacked.folder)))
            continue
        photos.setdefault(group, []).append(photo)
        is_anonymous = export is not None and export.labels[checked.path.stem].anonymous
        train_only[group] = train_only.get(group, False) or is_anonymous or not photo.exhaustive
    boxes = Counter(box.label for checked in found.photos for box in truth_boxes(checked.labels, found.classes))
    classes = [NamedClass(name, label, known, boxes[name]) for name, (label, known) in labels.items()]
    class_list = export.classes if export else ClassList()
    return DataSet(list(photos.values()), list(train_only.values()), classes, class_list, left_out.files)


def _label(name: str, *, accepted: bool, export: UnpackedExport | None) -> tuple[str | None, bool]:
    """The label of a name, and whether it may be imported."""
    if export and any(entry.label == name for entry in export.classes.classes):
        return name, True
    try:
        normalised = normalise(name)
    except ValueError:  # "123" has no letters, so it can never be a class
        return None, False
    return normalised.label, normalised.known or accepted


def _grouped(found: FoundPhotos, options: ImportOptions) -> Sequence[str]:
    photos = [Photo(photo.path.stem, photo.signature, photo.capture) for photo in found.photos]
    named = options.groups or found.groups
    return group_photos(photos, Grouping(session_gap=options.session_gap, named=named)).groups


def _photo(
    checked: CheckedPhoto,
    found: FoundPhotos,
    export: UnpackedExport | None,
    options: ImportOptions,
    labels: Mapping[str, tuple[str | None, bool]],
) -> PhotoToImport | str:
    """The photo, or why it is left out."""
    exported = export.labels.get(checked.path.stem) if export else None
    if export and exported is None:
        return NOT_LISTED
    boxes = exported.boxes if exported else None
    if boxes is None:
        named = truth_boxes(checked.labels, found.classes)
        if any(not labels[box.label][1] for box in named):
            return UNKNOWN_CLASS
        boxes = tuple(TruthBox(str(labels[box.label][0]), box.bbox) for box in named)
    rejected = exported.rejected if exported else ()
    if not boxes and not rejected:
        return BACKGROUND
    exhaustive = options.exhaustive and checked.path.stem not in found.unboxed
    return PhotoToImport(checked.path, boxes, exhaustive and (exported is None or exported.exhaustive), rejected)
