"""YOLO label files: a line a box, `class x_centre y_centre width height`, in fractions (0…1) of the upright photo."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from savo_contracts.geometry import BoundingBox
from savo_datasets.errors import DatasetError

__all__ = ["LabelLine", "TruthBox", "format_labels", "parse_labels", "read_labels", "truth_boxes"]

_POLYGON_NUMBERS = 6
"""Three corners or more."""


class TruthBox(NamedTuple):
    """A labelled thing in a photo."""

    label: str
    bbox: BoundingBox


@dataclass(frozen=True)
class LabelLine:
    """One line of a label file that we stored ourselves."""

    class_id: int
    numbers: tuple[str, str, str, str]
    """Centre form, as text: a stored label is passed on digit for digit."""


def parse_labels(text: str) -> list[LabelLine]:
    """Raises `ValueError` for a line that is no YOLO box."""
    lines = []
    for line in filter(str.strip, text.splitlines()):
        class_id, x_centre, y_centre, width, height = line.split()
        lines.append(LabelLine(int(class_id), (x_centre, y_centre, width, height)))
    return lines


def truth_boxes(text: str, names: Sequence[str]) -> list[TruthBox]:
    """Name and box of each line; what rounding put past the edge is cut, and a box without area is left out."""
    found = ((names[label.class_id], [float(number) for number in label.numbers]) for label in parse_labels(text))
    return [TruthBox(name, box) for name, numbers in found if (box := BoundingBox.from_yolo(numbers)) is not None]


def format_labels(boxes: Iterable[TruthBox], names: Sequence[str]) -> str:
    """The label file of these boxes; class ids are positions in `names`."""
    return "".join(_format_line(names.index(box.label), box.bbox.to_yolo()) for box in boxes)


def read_labels(path: Path, class_count: int) -> str:
    """A label file of unknown origin, checked and rewritten: polygons become the boxes around them.

    Raises `DatasetError` naming file and line.
    """
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    checked = (_checked_line(line.split(), class_count, f"{path}:{number}") for number, line in lines if line.strip())
    return "".join(checked)


def _checked_line(fields: Sequence[str], class_count: int, where: str) -> str:
    try:
        class_id, numbers = int(fields[0]), [float(field) for field in fields[1:]]
    except ValueError:
        raise DatasetError(f"{where} is no YOLO label: class id and numbers are expected") from None
    if not 0 <= class_id < class_count:
        raise DatasetError(f"{where} names class {class_id}, but there are {class_count} classes")
    if len(numbers) >= _POLYGON_NUMBERS and len(numbers) % 2 == 0:
        numbers = _box_around(numbers[::2], numbers[1::2])
    if len(numbers) != 4 or not all(0 <= number <= 1 for number in numbers):
        raise DatasetError(f"{where}: x_centre, y_centre, width and height are expected, each 0 to 1")
    return _format_line(class_id, numbers)


def _box_around(xs: Sequence[float], ys: Sequence[float]) -> list[float]:
    """Centre form."""
    return [(min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)]


def _format_line(class_id: int, numbers: Iterable[float]) -> str:
    return f"{class_id} {' '.join(f'{number:.6f}' for number in numbers)}\n"
