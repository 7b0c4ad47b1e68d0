"""Reader of folders as the app's API has stored them.

    images/2025-12/<sha256>.jpg      the photo
    labels/2025-12/<sha256>.json     its items after the person's review

A label is one JSON object with `image_hash`, `image_width`, `image_height`, `annotations` (each with `class` and with
`bbox` in pixels or null) and `metadata.user_id`; other keys are ignored. Photo and label belong together by name,
whatever their months.

- Names are normalised through the catalogue of ingredients, and the classes are the labels that occur.
- A user id becomes a random subject, which groups the photos of a person; the id itself is not kept.
- An item without a box gets no line and is counted, and so are the photos of each split that have one. A photo of such
  items alone is left out: it is no background.
- A file that cannot be used is left out with its reason, and the others are read.
"""

from __future__ import annotations

import hashlib
import secrets
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Annotated

from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from savo_contracts.geometry import BoundingBox
from savo_contracts.ingredients import normalise
from savo_datasets.class_map import ClassMap, map_labels
from savo_datasets.errors import DatasetError
from savo_datasets.formats.folder_files import files_under, photo_files
from savo_datasets.found_photos import CheckedPhoto, FoundPhotos, LeftOut
from savo_datasets.labels import TruthBox, format_labels
from savo_datasets.signatures import signature_of

__all__ = ["MAX_LABEL_BYTES", "MAX_PHOTO_BYTES", "find_photos", "label_files"]

MAX_LABEL_BYTES = 1 << 20
MAX_PHOTO_BYTES = 32 << 20
"""Above the app's photos of at most 1,600 pixels by far."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_ORIENTATION_TAG = 0x0112
_TRANSPOSED = frozenset({5, 6, 7, 8})
_RATIO_TOLERANCE = 0.01
"""Largest relative difference between the aspect ratios of photo and label: a scaled size is rounded to pixels."""
_MIN_SHARE_INSIDE = 0.5
"""Least share of a box inside its photo. A box with less is in other coordinates, not a little too large."""
_MIN_SIDE = 1.0
"""Least width and height of a box, pixels."""

UNBOXED_ITEMS = "items without a box"
CLIPPED_BOXES = "boxes clipped to their photo"
BACKGROUNDS = "photos whose label lists no item"

Pixels = Annotated[float, Field(ge=1, le=100_000)]


class _Content(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Box(_Content):
    """Pixels from the photo's top left corner."""

    x: FiniteFloat
    y: FiniteFloat
    width: FiniteFloat
    height: FiniteFloat


class _Annotation(_Content):
    name: str = Field(alias="class", max_length=200)
    bbox: _Box | None = None


class _Metadata(_Content):
    user_id: str | int | None = None


class _Label(_Content):
    image_hash: str
    image_width: Pixels
    image_height: Pixels
    annotations: list[_Annotation]
    metadata: _Metadata | None = None

    @property
    def user(self) -> str | None:
        user_id = self.metadata.user_id if self.metadata else None
        return None if user_id is None or user_id == "" else str(user_id)


class _UnusableFileError(Exception):
    """A file is left out. Arguments: reason, file, details."""

    def __init__(self, reason: str, file: Path, details: str = "") -> None:
        super().__init__(reason)
        self.reason, self.file, self.details = reason, file, details


@dataclass
class _Reading:
    """Names, people and counts of the files read so far."""

    names: list[str] = field(default_factory=list)
    """Labels in order of appearance; the ids of `photos` are positions in it."""
    unknown: set[str] = field(default_factory=set)
    subjects: dict[str, str] = field(default_factory=dict)
    """Subject by user id."""
    groups: dict[str, str] = field(default_factory=dict)
    photos: list[CheckedPhoto] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)
    counted: Counter[str] = field(default_factory=Counter)
    unboxed: set[str] = field(default_factory=set)
    """Names of the photos with an item without a box."""

    def subject(self, user: str) -> str:
        """A random subject. Its number keeps the order of subjects, and with it the splits of a seed, repeatable."""
        number = len(self.subjects) + 1
        return self.subjects.setdefault(user, f"subject-{number:06d}-{secrets.token_hex(6)}")


def label_files(folder: Path) -> Iterator[Path]:
    """The JSON files in folders named labels, in no order, without hidden files."""
    for path in files_under(folder, {".json"}):
        if "labels" in path.relative_to(folder).parts[:-1]:
            yield path


def find_photos(folder: Path) -> FoundPhotos:
    """Every usable photo of a folder once, in order of name.

    Raises `DatasetError` for a folder without a usable photo.
    """
    left_out, reading = LeftOut(), _Reading()
    labels = _by_name(sorted(label_files(folder)), folder, left_out, "a later label of the same photo is used")
    photos = _by_name(photo_files(folder), folder, left_out, "the same photo is stored again")
    for name in sorted(labels.keys() | photos.keys()):
        try:
            _read(labels.get(name), photos.get(name), reading)
        except _UnusableFileError as error:
            left_out.add(error.reason, str(error.file.relative_to(folder)), error.details)
    if not reading.photos:
        raise _no_usable_photo(folder, left_out)
    return _found(reading, left_out)


def _by_name(paths: Iterable[Path], folder: Path, left_out: LeftOut, reason: str) -> dict[str, Path]:
    """The last file of each name without suffix. The earlier ones are left out with `reason`."""
    found: dict[str, Path] = {}
    for path in paths:
        if earlier := found.get(path.stem):
            left_out.add(reason, str(earlier.relative_to(folder)))
        found[path.stem] = path
    return found


def _read(label_file: Path | None, photo_file: Path | None, reading: _Reading) -> None:
    """Add a photo to `reading`, unless the files raise `_UnusableFileError`."""
    if label_file is None:
        assert photo_file is not None
        raise _UnusableFileError("no label file", photo_file)
    if photo_file is None:
        raise _UnusableFileError("label without a photo", label_file)
    label = _read_label(label_file)
    content = _content(photo_file, MAX_PHOTO_BYTES)
    digest = hashlib.sha256(content).hexdigest()
    if label.image_hash.lower() != digest:
        raise _UnusableFileError("image_hash is not the photo's sha256", photo_file)
    if digest in reading.digests:
        raise _UnusableFileError("the same file twice", photo_file)
    _check_size(label, label_file, _upright_size(content, photo_file))
    signature = signature_of(content)
    if signature is None:
        raise _UnusableFileError("unreadable photo", photo_file)
    boxes = _boxes(label, label_file, reading)
    reading.digests.add(digest)
    reading.photos.append(CheckedPhoto(photo_file, format_labels(boxes, reading.names), signature))
    if user := label.user:
        reading.groups[photo_file.stem] = reading.subject(user)


def _read_label(path: Path) -> _Label:
    try:
        return _Label.model_validate_json(_content(path, MAX_LABEL_BYTES))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field_name = ".".join(map(str, problem["loc"]))
        if problem["type"] == "json_invalid":
            raise _UnusableFileError("label is not valid JSON", path, problem["msg"]) from error
        raise _UnusableFileError("label is not of the app's form", path, f"{field_name}: {problem['msg']}") from error


def _content(path: Path, limit: int) -> bytes:
    try:
        if not path.is_file():
            raise _UnusableFileError("not a file", path)
        if path.stat().st_size > limit:
            raise _UnusableFileError(f"larger than {limit >> 20} MiB", path)
        return path.read_bytes()
    except OSError as error:
        raise _UnusableFileError("cannot be read", path, error.strerror or "") from error


def _upright_size(content: bytes, path: Path) -> tuple[int, int]:
    """Width and height from the photo's header, pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(content), formats=_FORMATS) as photo:
                (width, height), orientation = photo.size, photo.getexif().get(_ORIENTATION_TAG)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _UnusableFileError("too many pixels", path) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise _UnusableFileError("unreadable photo", path) from error
    return (height, width) if orientation in _TRANSPOSED else (width, height)


def _check_size(label: _Label, path: Path, size: tuple[int, int]) -> None:
    """The label may be of a scaled photo, but not of another shape or of the photo as the sensor stored it."""
    width, height = size
    ratio = (label.image_width / label.image_height) / (width / height)
    if abs(ratio - 1) > _RATIO_TOLERANCE:
        details = f"{label.image_width:.0f}×{label.image_height:.0f}, the upright photo is {width}×{height}"
        raise _UnusableFileError("image_width and image_height are not the photo's", path, details)


def _boxes(label: _Label, path: Path, reading: _Reading) -> list[TruthBox]:
    """Boxes with labels, which are added to `reading.names`. Counts are added for a usable label alone."""
    boxes, counted = [], Counter({BACKGROUNDS: int(not label.annotations)})
    names = [_normalised(annotation, path, reading) for annotation in label.annotations]
    for number, (annotation, name) in enumerate(zip(label.annotations, names, strict=True)):
        if annotation.bbox is None:
            counted[UNBOXED_ITEMS] += 1
            continue
        box, clipped = _clipped(annotation.bbox, label)
        if box is None:
            raise _UnusableFileError("a box is outside its photo or has no area", path, f"annotations.{number}")
        counted[CLIPPED_BOXES] += int(clipped)
        boxes.append(TruthBox(name, box))
    if label.annotations and not boxes:
        raise _UnusableFileError("no item has a box", path)
    reading.counted.update(counted)
    if counted[UNBOXED_ITEMS]:
        reading.unboxed.add(path.stem)
    reading.names.extend(sorted({box.label for box in boxes} - set(reading.names)))
    return boxes


def _normalised(annotation: _Annotation, path: Path, reading: _Reading) -> str:
    try:
        name = normalise(annotation.name)
    except ValueError as error:
        raise _UnusableFileError("label is not of the app's form", path, "a class without letters") from error
    if not name.known:
        reading.unknown.add(name.label)
    return name.label


def _clipped(box: _Box, label: _Label) -> tuple[BoundingBox | None, bool]:
    """The part of the box inside the photo, and whether that is less than the box. None: there is too little of it."""
    width, height = label.image_width, label.image_height
    corners = (box.x / width, box.y / height, (box.x + box.width) / width, (box.y + box.height) / height)
    inside = BoundingBox.clipped(*corners)
    if inside is None or inside.width * width < _MIN_SIDE or inside.height * height < _MIN_SIDE:
        return None, False
    share = inside.area / (box.width / width * box.height / height)
    return (inside if share >= _MIN_SHARE_INSIDE else None), not all(0 <= corner <= 1 for corner in corners)


def _found(reading: _Reading, left_out: LeftOut) -> FoundPhotos:
    """The photos with class ids in alphabetical order of the labels."""
    classes = tuple(sorted(reading.names))
    ids = tuple(range(len(classes)))
    mapping = ClassMap(classes, ids, {seen: classes.index(name) for seen, name in enumerate(reading.names)})
    photos = [replace(photo, labels=map_labels(photo.labels, mapping)) for photo in reading.photos]
    counted = {description: count for description, count in reading.counted.items() if count}
    unknown = tuple(name for name in classes if name in reading.unknown)
    return FoundPhotos(classes, tuple(photos), left_out, reading.groups, counted, unknown, frozenset(reading.unboxed))


def _no_usable_photo(folder: Path, left_out: LeftOut) -> DatasetError:
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.counts().items())
    files = [f"{reason}: {file}" for reason, files in left_out.files.items() for file in files[:3]]
    return DatasetError(f"{folder} holds no usable photo ({reasons})", files[:10])
