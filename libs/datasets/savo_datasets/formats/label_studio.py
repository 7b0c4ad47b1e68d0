"""Label Studio's JSON exports (JSON and JSON_MIN): a list of tasks, with boxes in per cent of the photo."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from savo_contracts.geometry import BoundingBox
from savo_datasets.formats.folder_files import split_of
from savo_datasets.formats.photo_index import PhotoIndex
from savo_datasets.formats.samples import Sample, SampleSource
from savo_datasets.found_photos import LeftOut
from savo_datasets.labels import TruthBox

__all__ = ["is_label_studio", "open_samples"]

_KINDS = ("rectanglelabels", "polygonlabels", "ellipselabels")
_PHOTO_KEYS = ("image", "img", "photo", "picture", "url")
_Points = list[tuple[float, float]]


def is_label_studio(content: Any) -> bool:
    """Whether parsed JSON has the form of an export: a list of tasks."""
    return isinstance(content, list) and bool(content) and all(map(_is_task, content[:20]))


def _is_task(task: Any) -> bool:
    if not isinstance(task, dict):
        return False
    is_full = isinstance(task.get("data"), dict) and any(key in task for key in ("annotations", "completions"))
    return is_full or ("data" not in task and _reference(task) is not None and "id" in task)


def open_samples(folder: Path, files: Mapping[Path, Any]) -> SampleSource:
    """The annotated photos of a folder with exports: parsed content by path. Classes are in alphabetical order."""
    names = {
        name for content in files.values() for task in content for row in _rows(task) or () if (name := _label(row))
    }
    left_out = LeftOut()
    return SampleSource("Label Studio", tuple(sorted(names)), _samples(folder, files, left_out), left_out)


def _samples(folder: Path, files: Mapping[Path, Any], left_out: LeftOut) -> Iterator[Sample]:
    index = PhotoIndex(folder)
    used: set[Path] = set()
    for path, content in files.items():
        for number, task in enumerate(content):
            position = f"{path.relative_to(folder)}: task {_id(task, number)}"
            sample = _sample(task, position, index, path.parent, used, left_out)
            if sample is not None and sample.path is not None:
                used.add(sample.path)
                yield (
                    sample
                    if sample.split
                    else Sample(sample.name, sample.boxes, sample.path, split=split_of(sample.path.relative_to(folder)))
                )
    for photo in index.others(used):
        left_out.add("photo without annotations", str(photo.relative_to(folder)))


def _sample(
    task: Any, position: str, index: PhotoIndex, near: Path, used: set[Path], left_out: LeftOut
) -> Sample | None:
    reference = _reference(task.get("data", task)) if isinstance(task, dict) else None
    if reference is None:
        left_out.add("task without a photo", position)
        return None
    rows = _rows(task)
    if rows is None:
        left_out.add("task without an annotation", position, reference)
        return None
    photo = index.find(reference, near)
    if photo is None or photo in used:
        reason = "photo that is annotated again" if photo else "annotated photo that is not in the folder"
        left_out.add(reason, position, reference)
        return None
    boxes = tuple(_boxes(rows, position, left_out))
    if rows and not boxes:
        left_out.add("no usable annotation", position, photo.name)
        return None
    return Sample(photo.name, boxes, photo)


def _rows(task: Any) -> list[Any] | None:
    """Rows of the annotation that counts: the one marked as ground truth, or else the last; None when there is none."""
    if not isinstance(task, dict):
        return None
    annotations = task.get("annotations", task.get("completions"))
    if annotations is None:
        lists = [value for value in task.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        return [row for rows in lists for row in rows] or None
    done = [found for found in annotations if isinstance(found, dict) and not found.get("was_cancelled")]
    if not done:
        return None
    chosen = next((found for found in done if found.get("ground_truth")), done[-1])
    rows = chosen.get("result")
    return [row for row in rows if not _is_relation(row)] if isinstance(rows, list) else []


def _is_relation(row: Any) -> bool:
    """Whether a row is no region of the photo: a relation, a choice or a text for the whole task."""
    return isinstance(row, dict) and row.get("type") in {"relation", "choices", "textarea", "rating", "taxonomy"}


def _boxes(rows: Sequence[Any], position: str, left_out: LeftOut) -> Iterator[TruthBox]:
    seen = set()
    for number, row in enumerate(rows):
        name, points = _label(row), _points(row)
        place = f"{position}, region {number + 1}"
        if name is None:
            left_out.add("region without a label", place)
        elif points is None:
            left_out.add("region that is no box, polygon or ellipse of the upright photo", place, name)
        elif (box := _bounds(points)) is None:
            left_out.add("box outside its photo or without area", place, name)
        elif (name, box) in seen:
            left_out.add("region that repeats another one", place, name)
        else:
            seen.add((name, box))
            yield TruthBox(name, box)


def _label(row: Any) -> str | None:
    value = _value(row)
    labels = next((value[kind] for kind in (*_KINDS, "labels") if value.get(kind)), None)
    first = labels[0] if isinstance(labels, list) else labels
    return first.strip() if isinstance(first, str) and first.strip() else None


def _value(row: Any) -> Mapping[str, Any]:
    """The region of a row: under `value`, or the row itself in JSON_MIN."""
    if not isinstance(row, dict):
        return {}
    value = row.get("value", row)
    return value if isinstance(value, dict) else {}


def _points(row: Any) -> _Points | None:
    """Points whose bounding box is the region's, in fractions of the photo."""
    value = _value(row)
    if row.get("image_rotation"):
        return None
    sides = [_number(row.get(key, value.get(key))) or 1.0 for key in ("original_width", "original_height")]
    if isinstance(value.get("points"), list):
        return _polygon(value["points"])
    if "radiusX" in value:
        x, y, across, down = (_number(value.get(key)) for key in ("x", "y", "radiusX", "radiusY"))
        if x is None or y is None or across is None or down is None or value.get("rotation"):
            return None
        return [((x - across) / 100, (y - down) / 100), ((x + across) / 100, (y + down) / 100)]
    return _rectangle(value, sides[0], sides[1])


def _polygon(points: Sequence[Any]) -> _Points | None:
    pairs = [tuple(map(_number, point)) for point in points if isinstance(point, list) and len(point) == 2]
    found = [(x / 100, y / 100) for x, y in pairs if x is not None and y is not None]
    return found if len(found) >= 3 else None


def _rectangle(value: Mapping[str, Any], photo_width: float, photo_height: float) -> _Points | None:
    """Corners of a rectangle that is turned about its top left corner, clockwise in pixels."""
    x, y, width, height = (_number(value.get(key)) for key in ("x", "y", "width", "height"))
    if x is None or y is None or width is None or height is None:
        return None
    angle = math.radians(_number(value.get("rotation")) or 0.0)
    across, down = width / 100 * photo_width, height / 100 * photo_height
    cos, sin = math.cos(angle), math.sin(angle)
    turned = [(i * across * cos - j * down * sin, i * across * sin + j * down * cos) for i in (0, 1) for j in (0, 1)]
    return [(x / 100 + right / photo_width, y / 100 + below / photo_height) for right, below in turned]


def _bounds(points: _Points) -> BoundingBox | None:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    area = (max(xs) - min(xs)) * (max(ys) - min(ys))
    box = BoundingBox.clipped(min(xs), min(ys), max(xs), max(ys))
    return box if box is not None and box.area >= area / 2 else None


def _reference(data: Any) -> str | None:
    """The photo's path or URL."""
    if not isinstance(data, dict):
        return None
    found = (data.get(key) for key in _PHOTO_KEYS)
    return next((value for value in found if isinstance(value, str) and value), None)


def _id(task: Any, number: int) -> str:
    return str(task["id"]) if isinstance(task, dict) and "id" in task else f"number {number + 1}"


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e9 else None
