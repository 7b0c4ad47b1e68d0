"""Folders of photos in YOLO form, as people bring them: found, checked, read, written."""

from __future__ import annotations

import csv
import hashlib
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from savo_datasets.groups import SPLITS, Grouping, Photo, deal, difference_hash, group_photos
from savo_datasets.labels import parse_labels, truth_boxes
from savo_detection.evaluation.evaluator import EvaluationSample, Truth

__all__ = [
    "IMAGES",
    "FolderError",
    "LabelledPhoto",
    "Prepared",
    "count_photos",
    "find_photos",
    "folder_photos",
    "prepare",
    "read_classes",
    "read_data_yaml",
    "read_groups",
    "split_photos",
    "split_samples",
    "unpack",
    "write_data",
    "write_groups",
]

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
GROUPS_FILE = "groups.csv"


class FolderError(ValueError):
    """The input cannot be used as it is; the message says what to do."""


@dataclass(frozen=True)
class LabelledPhoto:
    image: Path
    labels: str
    """Checked lines of the label file, polygons as their boxes."""
    hash: int


@dataclass(frozen=True)
class Found:
    photos: tuple[LabelledPhoto, ...]
    left_out: Mapping[str, int]
    """Photos not used, by reason."""


@dataclass(frozen=True)
class Prepared:
    counts: Mapping[str, int]
    groups: Mapping[str, int]
    """Groups in each split."""
    boxes: Mapping[str, int]
    left_out: Mapping[str, int]
    data: Path


def unpack(archive: Path, folder: Path) -> Path:
    """A tar, however it is compressed; nothing is written outside `folder`. Raises `FolderError`."""
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, OSError) as flaw:
        raise FolderError(f"{archive} is no readable tar: {flaw}") from flaw
    return folder


def read_classes(folder: Path) -> tuple[str, ...]:
    """From classes.txt, or a data.yaml. Raises `FolderError`."""
    for path in sorted(folder.rglob("classes.txt")):
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    for path in sorted([*folder.rglob("data.yaml"), *folder.rglob("dataset.yaml")]):
        if names := _names(yaml.safe_load(path.read_text(encoding="utf-8")) or {}):
            return names
    raise FolderError(f"{folder} names no classes: put a classes.txt with one class a line into it, in the order of their ids")


def find_photos(folder: Path, classes: Sequence[str]) -> Found:
    """Every labelled photo once, in order of path. Raises `FolderError` for a broken label file, naming the line."""
    photos: list[LabelledPhoto] = []
    left_out: dict[str, int] = {}
    seen: set[str] = set()
    for image in sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGES and not path.name.startswith(".")):
        reason, photo = _read_photo(image, classes, seen)
        if photo is not None:
            photos.append(photo)
        else:
            left_out[reason] = left_out.get(reason, 0) + 1
    if not photos:
        raise FolderError(f"{folder} holds no labelled photo: expected images/NAME.jpg with labels/NAME.txt beside it")
    return Found(tuple(photos), left_out)


def prepare(found: Found, classes: Sequence[str], output: Path, shares: Sequence[float], grouping: Grouping, seed: int) -> Prepared:
    """Write the dealt data set to an empty `output`. Raises `FolderError`."""
    photos = [Photo(photo.image.stem, photo.hash) for photo in found.photos]
    groups = group_photos(photos, grouping)
    try:
        splits = deal(groups, shares, seed)
    except ValueError as flaw:
        raise FolderError(f"{flaw}. Names look like one session: give --groups FILE.csv, or --session-gap 0 if every name is a photo of its own") from flaw
    _empty(output)
    for photo, split in zip(found.photos, splits, strict=True):
        _place(photo, split, output)
    write_groups(output, [photo.name for photo in photos], splits, groups)
    return Prepared(
        counts={split: splits.count(split) for split in SPLITS},
        groups={split: len({group for group, chosen in zip(groups, splits, strict=True) if chosen == split}) for split in SPLITS},
        boxes={split: sum(photo.labels.count("\n") for photo, chosen in zip(found.photos, splits, strict=True) if chosen == split) for split in SPLITS},
        left_out=found.left_out,
        data=write_data(output, classes),
    )


def read_data_yaml(path: Path) -> dict[str, Any]:
    """With `names` as a tuple and `path` absolute. Raises `FolderError`."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as flaw:
        raise FolderError(f"{path} cannot be read: {flaw}. `savo prepare` writes one") from flaw
    if not isinstance(data, dict) or not _names(data):
        raise FolderError(f"{path} has no names: expected path, train, val, test and names, as `savo prepare` writes them")
    root = Path(data.get("path") or path.parent)
    return data | {"names": _names(data), "path": root if root.is_absolute() else (path.parent / root).resolve()}


def split_samples(data: Mapping[str, Any], split: str) -> Iterator[EvaluationSample]:
    """The photos of one split with their truth, one at a time; grouped as `savo prepare` noted it. Raises `FolderError`."""
    for image, truth, group in split_photos(data, split):
        yield EvaluationSample(image.read_bytes(), truth, group, image.name)


def split_photos(data: Mapping[str, Any], split: str) -> Iterator[tuple[Path, Truth, str]]:
    """Photo, truth and group of one split; a photo without a label file holds nothing. Raises `FolderError`."""
    if not data.get(split):
        raise FolderError(f"the data set has no split {split!r}; it has {', '.join(name for name in SPLITS if data.get(name))}")
    folder = Path(data["path"]) / str(data[split])
    images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGES) if folder.is_dir() else []
    if not images:
        raise FolderError(f"{folder} holds no photo")
    groups = read_groups(Path(data["path"]) / GROUPS_FILE)
    for image in images:
        labels = _labels_path(image)
        truth = truth_boxes(_boxes(labels, data["names"]), data["names"]) if labels else []
        yield image, truth, groups.get(image.stem, image.stem)


def folder_photos(folder: Path, classes: Sequence[str]) -> Iterator[tuple[Path, Truth]]:
    """Every photo that has a label file, in order of path. Raises `FolderError` without one."""
    labelled = [(image, labels) for image in sorted(folder.rglob("*")) if image.suffix.lower() in IMAGES and (labels := _labels_path(image))]
    if not labelled:
        raise FolderError(f"{folder} holds no labelled photo: expected images/NAME.jpg with labels/NAME.txt beside it")
    for image, labels in labelled:
        yield image, truth_boxes(_boxes(labels, classes), classes)


def count_photos(data: Mapping[str, Any], split: str) -> int:
    """Of a split that is a folder; 0 for any other."""
    folder = Path(data["path"]) / str(data.get(split) or "")
    return sum(path.suffix.lower() in IMAGES for path in folder.rglob("*")) if data.get(split) and folder.is_dir() else 0


def read_groups(path: Path) -> dict[str, str]:
    """`name,group` rows with a heading; empty when the file is absent."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if not {"name", "group"} <= set(rows.fieldnames or ()):
            raise FolderError(f"{path} needs a heading with name and group")
        return {Path(row["name"]).stem if Path(row["name"]).suffix.lower() in IMAGES else row["name"]: row["group"] for row in rows}


def _read_photo(image: Path, classes: Sequence[str], seen: set[str]) -> tuple[str, LabelledPhoto | None]:
    content = image.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest in seen:
        return "the same file twice", None
    seen.add(digest)
    labels = _labels_path(image)
    if labels is None:
        return "no label file", None
    grey = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) if content else None
    if grey is None:
        return "unreadable", None
    small = np.asarray(cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA), np.uint8)
    return "", LabelledPhoto(image, _boxes(labels, classes), difference_hash(small))


def _labels_path(image: Path) -> Path | None:
    """Beside the photo, or under labels/ where the photo is under images/."""
    beside = image.with_suffix(".txt")
    parts = list(image.parts)
    for index in range(len(parts) - 1, -1, -1):
        if parts[index] == "images":
            elsewhere = Path(*parts[:index], "labels", *parts[index + 1 :]).with_suffix(".txt")
            return elsewhere if elsewhere.exists() else beside if beside.exists() else None
    return beside if beside.exists() else None


def _boxes(path: Path, classes: Sequence[str]) -> str:
    """Checked label lines; a polygon becomes the box around it."""
    lines = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            lines.append(_box(line.split(), classes, f"{path}:{number}"))
    text = "".join(f"{line}\n" for line in lines)
    parse_labels(text)
    return text


def _box(fields: Sequence[str], classes: Sequence[str], where: str) -> str:
    try:
        class_id, numbers = int(fields[0]), [float(field) for field in fields[1:]]
    except ValueError:
        raise FolderError(f"{where} is no YOLO label: class id and numbers are expected") from None
    if not 0 <= class_id < len(classes):
        raise FolderError(f"{where} names class {class_id}, but there are {len(classes)} classes")
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        xs, ys = numbers[::2], numbers[1::2]
        numbers = [(min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)]
    if len(numbers) != 4 or not all(0 <= number <= 1 for number in numbers):
        raise FolderError(f"{where}: x_centre, y_centre, width and height are expected, each 0 to 1")
    return f"{class_id} {' '.join(f'{number:.6f}' for number in numbers)}"


def _names(data: Mapping[str, Any]) -> tuple[str, ...]:
    names = data.get("names") or ()
    return tuple(str(names[key]) for key in sorted(names)) if isinstance(names, dict) else tuple(str(name) for name in names)


def _empty(output: Path) -> None:
    if output.exists() and any(output.iterdir()):
        raise FolderError(f"{output} is not empty: give another --output, or remove it first")
    output.mkdir(parents=True, exist_ok=True)


def _place(photo: LabelledPhoto, split: str, output: Path) -> None:
    """Byte for byte; a name that two folders share gets a number."""
    images, labels = output / "images" / split, output / "labels" / split
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    stem, count = photo.image.stem, 1
    while (labels / f"{stem}.txt").exists():
        count += 1
        stem = f"{photo.image.stem}~{count}"
    shutil.copyfile(photo.image, images / f"{stem}{photo.image.suffix}")
    (labels / f"{stem}.txt").write_text(photo.labels, encoding="utf-8")


def write_groups(output: Path, names: Sequence[str], splits: Sequence[str], groups: Sequence[str]) -> None:
    """groups.csv: what each photo belongs to."""
    with (output / GROUPS_FILE).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "split", "group"])
        rows.writerows(sorted(zip(names, splits, groups, strict=True)))


def write_data(output: Path, classes: Sequence[str], *, root: Path | None = None, present: Sequence[str] = SPLITS) -> Path:
    """classes.txt and dataset.yaml. `root`: where the folder will stand, if not at `output`. `present`: the splits that hold photos."""
    (output / "classes.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
    target = output / "dataset.yaml"
    folders = {split: f"images/{split}" for split in present}
    folders.setdefault("val", "images/train")  # ultralytics wants one to look at between epochs: never the holdout
    content = {"path": str((root or output).resolve()), **folders, "names": dict(enumerate(classes))}
    target.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return target
