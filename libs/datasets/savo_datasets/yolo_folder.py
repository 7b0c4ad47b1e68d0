"""Reader of folders in YOLO form: photos, their label files, class names and splits.

images/NAME.jpg  labels/NAME.txt  classes.txt or data.yaml       as tools export them
images/<split>/NAME.jpg  labels/<split>/NAME.txt  dataset.yaml   as `savo prepare` writes them
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from savo_datasets.errors import DatasetError
from savo_datasets.formats.class_names import names_in_lines, names_in_yaml
from savo_datasets.formats.folder_files import files_under, photo_files, split_of
from savo_datasets.formats.samples import Sample, SampleSource
from savo_datasets.found_photos import LeftOut
from savo_datasets.groups import GROUPS_FILE, SUBJECTS_FILE, read_groups_if_any
from savo_datasets.labels import RowProblem, TruthBox, checked_rows, read_labels, read_text, truth_boxes
from savo_datasets.splits import SPLITS

__all__ = [
    "Description",
    "LabelledPhoto",
    "count_photos",
    "has_classes",
    "keypoint_numbers",
    "labelled_photos",
    "labels_path",
    "no_labelled_photo_error",
    "open_samples",
    "photo_files",
    "read_classes",
    "read_data_yaml",
    "read_description",
    "read_truth",
    "split_photos",
]

_DATA_FILES = ("data.yaml", "dataset.yaml", "data.yml")


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo with its labelled boxes."""

    path: Path
    truth: Sequence[TruthBox]
    group: str
    """Subject or session; the photo's name when neither is known."""


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
    return bool(_description_files(folder, ("classes.txt", *_DATA_FILES)))


@dataclass(frozen=True)
class Description:
    """What a folder says of its label files."""

    names: tuple[str, ...]
    """Class names in order of their ids."""
    keypoint_numbers: int = 0
    """Numbers of key points behind the box of each row (`kpt_shape`)."""


def read_classes(folder: Path) -> tuple[str, ...]:
    """Class names in order of their ids. Raises `DatasetError` like `read_description`."""
    return read_description(folder).names


def read_description(folder: Path) -> Description:
    """Class names from classes.txt or data.yaml, and the form of the rows.

    Raises `DatasetError` when there are no names, and with file, line and value for names that leave a doubt.
    """
    keypoints, data_files = _keypoints(folder), _description_files(folder, _DATA_FILES)
    for path in _description_files(folder, ("classes.txt",)):
        return Description(names_in_lines(path, read_text(path)), keypoints)
    for path in data_files:
        if names := names_in_yaml(path, _compose(path)):
            return Description(names, keypoints)
    next_step = "add a classes.txt with a class name in each line, in the order of their ids, or a data.yaml with names"
    raise DatasetError(f"{folder} has no class names: {next_step}")


def _description_files(folder: Path, names: Sequence[str]) -> list[Path]:
    suffixes = {PurePath(name).suffix for name in names}
    return sorted(path for path in files_under(folder, suffixes) if path.name in names)


def _keypoints(folder: Path) -> int:
    described = ((path, _read_yaml(path)) for path in _description_files(folder, _DATA_FILES))
    return next((found for path, data in described if (found := keypoint_numbers(path, data))), 0)


def keypoint_numbers(path: Path, data: Mapping[str, Any]) -> int:
    """Numbers of key points behind the box of each row, from `kpt_shape`. Raises `DatasetError`."""
    shape = data.get("kpt_shape")
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(side, int) and side > 0 for side in shape):
        raise DatasetError(f"{path}: kpt_shape is {shape}, expected the number of key points and of their numbers")
    return int(shape[0] * shape[1])


def read_truth(photo: Path, names: Sequence[str], keypoints: int = 0) -> list[TruthBox]:
    """Boxes of a photo; empty when it has no label file. `keypoints`: see `Description.keypoint_numbers`.

    Raises `DatasetError` for an invalid row of the file.
    """
    labels = labels_path(photo)
    return truth_boxes(read_labels(labels, len(names), keypoints), names) if labels else []


def labelled_photos(folder: Path, names: Sequence[str]) -> Iterator[LabelledPhoto]:
    """Every photo that has a label file, in order of path, read lazily.

    Raises `DatasetError` for a folder without such a photo and for an invalid label.
    """
    photos = [photo for photo in photo_files(folder) if labels_path(photo)]
    if not photos:
        raise no_labelled_photo_error(folder)
    keypoints = _keypoints(folder)
    for photo in photos:
        yield LabelledPhoto(photo, read_truth(photo, names, keypoints), photo.stem)


def open_samples(folder: Path) -> SampleSource:
    """The labelled photos of a folder, in order of path. Their groups are those of subjects.csv, else of groups.csv.

    Rows that cannot be used are left out, and so are photos without a usable row, unless their label file is empty.
    Raises `DatasetError` for a folder without class names.
    """
    description, left_out = read_description(folder), LeftOut()
    groups = read_groups_if_any(folder / SUBJECTS_FILE) or read_groups_if_any(folder / GROUPS_FILE)
    samples = _samples(folder, description, groups, left_out)
    return SampleSource("YOLO", description.names, samples, left_out)


def _samples(folder: Path, form: Description, groups: Mapping[str, str], left_out: LeftOut) -> Iterator[Sample]:
    for photo in photo_files(folder):
        labels, name = labels_path(photo), str(photo.relative_to(folder))
        if labels is None:
            left_out.add("no label file", name)
            continue
        boxes = _usable_boxes(labels, folder, form, left_out)
        if boxes is not None:
            group = groups.get(photo.stem)
            yield Sample(photo.name, boxes, photo, split=split_of(photo.relative_to(folder)), group=group)


def _usable_boxes(labels: Path, folder: Path, form: Description, left_out: LeftOut) -> tuple[TruthBox, ...] | None:
    """Boxes of a label file; None when it cannot be read or has rows, but none that can be used."""
    file = str(labels.relative_to(folder))
    try:
        text = read_text(labels)
    except DatasetError as error:
        left_out.add("label file that cannot be read", file, str(error))
        return None
    usable, is_empty = [], True
    for row in checked_rows(text, len(form.names), form.keypoint_numbers):
        is_empty = False
        if isinstance(row, RowProblem):
            left_out.add(row.reason, f"{file}:{row.line}", row.details)
        else:
            usable.append(row.text)
    if not usable and not is_empty:
        left_out.add("no usable row in the label file", file)
        return None
    return tuple(truth_boxes("".join(usable), form.names))


def no_labelled_photo_error(folder: Path, left_out: LeftOut | None = None) -> DatasetError:
    """The error for a folder without a labelled photo, with what was left out."""
    message = f"{folder} holds no labelled photo: expected images/NAME.jpg with labels/NAME.txt beside it"
    return DatasetError(message, left_out.examples() if left_out else ())


def read_data_yaml(path: Path) -> dict[str, Any]:
    """Content of a data.yaml, with `names` as a tuple, `path` absolute and `keypoint_numbers` of `kpt_shape`.

    A data set of `savo prepare` is read where it is now, and so is any whose `path` no longer holds its photos.
    Raises `DatasetError` when the file cannot be read or has no names.
    """
    data, names = _read_yaml(path), names_in_yaml(path, _compose(path))
    if not names:
        expected = "path, train, val, test and names, as `savo prepare` writes them"
        raise DatasetError(f"{path} has no names: expected {expected}")
    return data | {"names": names, "path": _root(path, data), "keypoint_numbers": keypoint_numbers(path, data)}


def _read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; empty for an empty file. Raises `DatasetError`."""
    try:
        data = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise _invalid_yaml(path, error) from error
    if not isinstance(data or {}, dict):
        raise DatasetError(f"{path} holds a {type(data).__name__}: expected keys such as path, train and names")
    return data or {}


def _compose(path: Path) -> yaml.Node | None:
    """The content of a YAML file as it is written, with lines. Raises `DatasetError`."""
    try:
        return yaml.compose(read_text(path), Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise _invalid_yaml(path, error) from error


def _invalid_yaml(path: Path, error: yaml.YAMLError) -> DatasetError:
    return DatasetError(f"{path} is not valid YAML{_place(error)}; `savo prepare` writes a valid file")


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
    groups = read_groups_if_any(Path(data["path"]) / GROUPS_FILE)
    for photo in photos:
        truth = read_truth(photo, data["names"], data.get("keypoint_numbers", 0))
        yield LabelledPhoto(photo, truth, groups.get(photo.stem, photo.stem))


def count_photos(data: Mapping[str, Any], split: str) -> int:
    """Number of photos of a split that is a folder; 0 for any other."""
    folder = Path(data["path"]) / str(data.get(split) or "")
    return len(photo_files(folder)) if data.get(split) and folder.is_dir() else 0


def _missing_split_error(data: Mapping[str, Any], split: str) -> DatasetError:
    present = [name for name in SPLITS if data.get(name)]
    if not present:
        return DatasetError(f"{data['path']} has no split at all; expected {', '.join(SPLITS)}")
    return DatasetError(f"{data['path']} has no split {split!r}: it has {', '.join(present)}")


def _root(path: Path, data: Mapping[str, Any]) -> Path:
    """The folder of a data set, which may have been moved since `path` was written."""
    own, stated = path.parent.resolve(), (path.parent / str(data.get("path") or "")).resolve()
    train = str(data.get("train"))
    is_prepared_here = (own / GROUPS_FILE).exists() or not (stated / train).is_dir()
    return own if is_prepared_here and (own / train).is_dir() else stated
