"""Reader of folders in YOLO form: photos, their label files, class names and splits.

images/NAME.jpg  labels/NAME.txt  classes.txt or data.yaml       as tools export them
images/<split>/NAME.jpg  labels/<split>/NAME.txt  dataset.yaml   as `savo prepare` writes them
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from savo_datasets.errors import DatasetError
from savo_datasets.found_photos import CheckedPhoto, FoundPhotos, LeftOut
from savo_datasets.groups import GROUPS_FILE, SUBJECTS_FILE, read_groups
from savo_datasets.labels import TruthBox, read_labels, truth_boxes
from savo_datasets.sessions import read_capture
from savo_datasets.signatures import signature_of
from savo_datasets.splits import SPLITS

__all__ = [
    "LabelledPhoto",
    "count_photos",
    "find_photos",
    "has_classes",
    "labelled_photos",
    "labels_path",
    "no_labelled_photo",
    "photo_files",
    "read_classes",
    "read_data_yaml",
    "read_truth",
    "split_photos",
]

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_DATA_FILES = ("data.yaml", "dataset.yaml", "data.yml")


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo with its labelled boxes."""

    path: Path
    truth: Sequence[TruthBox]
    group: str
    """Subject or session; the photo's name when neither is known."""


def photo_files(folder: Path) -> list[Path]:
    """Photos in the folder and its subfolders, in order of path, without hidden files."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    return sorted(path for path in found if not path.name.startswith("."))


def labels_path(photo: Path) -> Path | None:
    """The label file under labels/ (for a photo under images/) or beside the photo; None when there is none."""
    beside, parts = photo.with_suffix(".txt"), photo.parts
    for index in range(len(parts) - 1, -1, -1):
        if parts[index] == "images":
            under_labels = Path(*parts[:index], "labels", *parts[index + 1 :]).with_suffix(".txt")
            if under_labels.exists():
                return under_labels
            break
    return beside if beside.exists() else None


def has_classes(folder: Path) -> bool:
    """Whether the folder has a file with class names."""
    return any(any(folder.rglob(name)) for name in ("classes.txt", *_DATA_FILES))


def read_classes(folder: Path) -> tuple[str, ...]:
    """Class names in order of their ids, from classes.txt or data.yaml. Raises `DatasetError` when there are none."""
    for path in sorted(folder.rglob("classes.txt")):
        return tuple(line.strip() for line in _read_text(path).splitlines() if line.strip())
    for path in sorted(found for name in _DATA_FILES for found in folder.rglob(name)):
        if names := _names(path, _read_yaml(path)):
            return names
    next_step = "add a classes.txt with a class name in each line, in the order of their ids, or a data.yaml with names"
    raise DatasetError(f"{folder} has no class names: {next_step}")


def read_truth(photo: Path, names: Sequence[str]) -> list[TruthBox]:
    """Boxes of a photo; empty when it has no label file. Raises `DatasetError` for an invalid line of the file."""
    labels = labels_path(photo)
    return truth_boxes(read_labels(labels, len(names)), names) if labels else []


def labelled_photos(folder: Path, names: Sequence[str]) -> Iterator[LabelledPhoto]:
    """Every photo that has a label file, in order of path, read lazily.

    Raises `DatasetError` for a folder without such a photo and for an invalid label.
    """
    photos = [photo for photo in photo_files(folder) if labels_path(photo)]
    if not photos:
        raise no_labelled_photo(folder)
    for photo in photos:
        yield LabelledPhoto(photo, read_truth(photo, names), photo.stem)


def find_photos(folder: Path) -> FoundPhotos:
    """Every labelled photo of a folder once, in order of path.

    Raises `DatasetError` for a folder without class names or without a labelled photo, and with file and line for an
    invalid label.
    """
    classes = read_classes(folder)
    photos: list[CheckedPhoto] = []
    left_out = LeftOut()
    digests: set[str] = set()
    for path in photo_files(folder):
        found = _check_photo(path, classes, digests)
        if isinstance(found, CheckedPhoto):
            photos.append(found)
        else:
            left_out.add(found, str(path.relative_to(folder)))
    if not photos:
        raise no_labelled_photo(folder)
    return FoundPhotos(classes, tuple(photos), left_out, read_groups(folder / SUBJECTS_FILE))


def no_labelled_photo(folder: Path) -> DatasetError:
    """The error for a folder without a labelled photo."""
    return DatasetError(f"{folder} holds no labelled photo: expected images/NAME.jpg with labels/NAME.txt beside it")


def read_data_yaml(path: Path) -> dict[str, Any]:
    """Content of a data.yaml, with `names` as a tuple and `path` absolute.

    A data set of `savo prepare` is read where it is now, and so is any whose `path` no longer holds its photos.
    Raises `DatasetError` when the file cannot be read or has no names.
    """
    data = _read_yaml(path)
    names = _names(path, data)
    if not names:
        expected = "path, train, val, test and names, as `savo prepare` writes them"
        raise DatasetError(f"{path} has no names: expected {expected}")
    return data | {"names": names, "path": _root(path, data)}


def _read_text(path: Path) -> str:
    """Raises `DatasetError`."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text: byte {error.start} is invalid; save it as UTF-8") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error


def _read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; empty for an empty file. Raises `DatasetError`."""
    try:
        data = yaml.safe_load(_read_text(path))
    except yaml.YAMLError as error:
        raise DatasetError(f"{path} is not valid YAML{_place(error)}; `savo prepare` writes a valid file") from error
    if not isinstance(data or {}, dict):
        raise DatasetError(f"{path} holds a {type(data).__name__}: expected keys such as path, train and names")
    return data or {}


def _place(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return ""
    return f" (line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem})"


def split_photos(data: Mapping[str, Any], split: str) -> Iterator[LabelledPhoto]:
    """Photos of a split, read lazily; a photo without a label file has no boxes. `data`: from `read_data_yaml`.

    Raises `DatasetError` for an unknown or empty split and for an invalid label.
    """
    if not data.get(split):
        raise _missing_split_error(data, split)
    folder = Path(data["path"]) / str(data[split])
    if not folder.is_dir():
        raise DatasetError(f"{folder} does not exist")
    photos = photo_files(folder)
    if not photos:
        raise DatasetError(f"{folder} has no .jpg, .jpeg, .png, .webp or .bmp")
    groups = read_groups(Path(data["path"]) / GROUPS_FILE)
    for photo in photos:
        yield LabelledPhoto(photo, read_truth(photo, data["names"]), groups.get(photo.stem, photo.stem))


def count_photos(data: Mapping[str, Any], split: str) -> int:
    """Number of photos of a split that is a folder; 0 for any other."""
    folder = Path(data["path"]) / str(data.get(split) or "")
    return len(photo_files(folder)) if data.get(split) and folder.is_dir() else 0


def _missing_split_error(data: Mapping[str, Any], split: str) -> DatasetError:
    present = [name for name in SPLITS if data.get(name)]
    if not present:
        return DatasetError(f"{data['path']} has no split at all; expected {', '.join(SPLITS)}")
    return DatasetError(f"{data['path']} has no split {split!r}: it has {', '.join(present)}")


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
    signature = signature_of(content)
    if signature is None:
        return "unreadable"
    return CheckedPhoto(path, read_labels(labels, len(classes)), signature, read_capture(content))


def _root(path: Path, data: Mapping[str, Any]) -> Path:
    """The folder of a data set, which may have been moved since `path` was written."""
    own, stated = path.parent.resolve(), (path.parent / str(data.get("path") or "")).resolve()
    train = str(data.get("train"))
    is_prepared_here = (own / GROUPS_FILE).exists() or not (stated / train).is_dir()
    return own if is_prepared_here and (own / train).is_dir() else stated


def _names(path: Path, data: Mapping[str, Any]) -> tuple[str, ...]:
    """Class names from a list or a mapping by class id. Raises `DatasetError` for other content."""
    names = data.get("names") or []
    if isinstance(names, list):
        return tuple(map(str, names))
    try:
        return tuple(str(names[key]) for key in sorted(names, key=int))
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{path}: names must be a list, or a mapping of class ids to names") from error
