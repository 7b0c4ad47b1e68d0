"""YOLO label files: a line for each box, `class x_centre y_centre width height`, in fractions of the upright photo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from savo_contracts.geometry import BoundingBox
from savo_datasets.errors import DatasetError

__all__ = ["LabelLine", "TruthBox", "count_classes", "format_labels", "parse_labels", "read_labels", "truth_boxes"]

_POLYGON_NUMBERS = 6
"""Fewest numbers of a polygon: x and y of three corners."""


class TruthBox(NamedTuple):
    """A labelled box of a photo (ground truth)."""

    label: str
    bbox: BoundingBox


@dataclass(frozen=True)
class LabelLine:
    """A line of a stored label file."""

    class_id: int
    numbers: tuple[str, str, str, str]
    """Centre form as text, so that a copy of the file has the same digits."""


def parse_labels(text: str) -> list[LabelLine]:
    """The lines of a stored label file. Raises `ValueError` for a line that is not a YOLO box."""
    lines = []
    for line in filter(str.strip, text.splitlines()):
        class_id, x_centre, y_centre, width, height = line.split()
        lines.append(LabelLine(int(class_id), (x_centre, y_centre, width, height)))
    return lines


def count_classes(text: str) -> Counter[int]:
    """Number of boxes by class id in a stored label file. Raises `ValueError` for an invalid class id."""
    return Counter(int(line.split(maxsplit=1)[0]) for line in text.splitlines() if line.strip())


def truth_boxes(text: str, names: Sequence[str]) -> list[TruthBox]:
    """Label and box of each line. Boxes are clipped to the photo, and boxes without area are left out."""
    found = ((names[label.class_id], [float(number) for number in label.numbers]) for label in parse_labels(text))
    return [TruthBox(name, box) for name, numbers in found if (box := BoundingBox.from_yolo(numbers)) is not None]


def format_labels(boxes: Iterable[TruthBox], names: Sequence[str]) -> str:
    """Text of a label file. Class ids are positions in `names`. Raises `ValueError` for a label that is not there."""
    return "".join(_format_line(names.index(box.label), box.bbox.to_yolo()) for box in boxes)


def read_labels(path: Path, class_count: int) -> str:
    """A label file of unknown origin, checked, with polygons replaced by their bounding boxes.

    Raises `DatasetError` with file and line for an invalid line.
    """
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    checked = (_checked_line(line.split(), class_count, f"{path}:{number}") for number, line in lines if line.strip())
    return "".join(checked)


def _checked_line(fields: Sequence[str], class_count: int, position: str) -> str:
    try:
        class_id, numbers = int(fields[0]), [float(field) for field in fields[1:]]
    except ValueError:
        message = f"{position} is not a YOLO label: expected a class id and numbers, got {' '.join(fields)[:60]!r}"
        raise DatasetError(message) from None
    if not 0 <= class_id < class_count:
        raise DatasetError(
            f"{position} has class id {class_id}, but there are {class_count} classes: ids are 0 to {class_count - 1}"
        )
    if len(numbers) >= _POLYGON_NUMBERS and len(numbers) % 2 == 0:
        numbers = _bounding_box(numbers[::2], numbers[1::2])
    if len(numbers) != 4 or not all(0 <= number <= 1 for number in numbers):
        raise DatasetError(
            f"{position}: expected x_centre, y_centre, width and height, each 0 to 1, got {' '.join(fields[1:])[:60]!r}"
        )
    return _format_line(class_id, numbers)


def _bounding_box(xs: Sequence[float], ys: Sequence[float]) -> list[float]:
    """In centre form."""
    return [(min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)]


def _format_line(class_id: int, numbers: Iterable[float]) -> str:
    return f"{class_id} {' '.join(f'{number:.6f}' for number in numbers)}\n"
