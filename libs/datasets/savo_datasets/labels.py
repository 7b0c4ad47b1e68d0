"""YOLO label files: a line for each box, `class x_centre y_centre width height`, in fractions of the upright photo."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from savo_contracts.geometry import ROUNDING, BoundingBox
from savo_datasets.errors import DatasetError

__all__ = [
    "LabelLine",
    "RowProblem",
    "TruthBox",
    "checked_rows",
    "count_classes",
    "format_labels",
    "parse_labels",
    "read_labels",
    "read_text",
    "truth_boxes",
]

NOT_A_LABEL = "row that is not a YOLO label"
UNKNOWN_CLASS = "row with a class id that has no name"
NO_BOX = "row without x_centre, y_centre, width and height, each 0 to 1"
NO_AREA = "row with a box without area"
REPEATED = "row that repeats another one"

_POLYGON_NUMBERS = 6
"""Fewest numbers of a polygon: x and y of three corners."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?|nan", re.IGNORECASE)


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

    @property
    def text(self) -> str:
        """The line, with its end."""
        return f"{self.class_id} {' '.join(self.numbers)}\n"


@dataclass(frozen=True)
class RowProblem:
    """Why a row of a label file is not used."""

    line: int
    reason: str
    """The same for all rows with this problem."""
    details: str
    """Continues a sentence that begins with the file and line."""
    is_invalid: bool = True
    """False for a row without meaning, which every reader leaves out."""


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


def checked_rows(text: str, class_count: int, keypoint_numbers: int = 0) -> Iterator[LabelLine | RowProblem]:
    """The rows of a label file of unknown origin, with polygons replaced by their bounding boxes, or what is wrong.

    `keypoint_numbers`: numbers of a row's key points, which follow its box (`kpt_shape` of a data.yaml).
    """
    seen: set[LabelLine] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        row = _checked_row(number, line.split(), class_count, keypoint_numbers)
        if isinstance(row, LabelLine):
            if row in seen:
                yield RowProblem(number, REPEATED, "repeats an earlier row", is_invalid=False)
                continue
            seen.add(row)
        yield row


def read_labels(path: Path, class_count: int, keypoint_numbers: int = 0) -> str:
    """A label file of unknown origin, checked, with polygons replaced by their bounding boxes.

    Rows that repeat another one and boxes without area are left out. Raises `DatasetError` with file and line for an
    invalid row.
    """
    lines = []
    for row in checked_rows(read_text(path), class_count, keypoint_numbers):
        if isinstance(row, LabelLine):
            lines.append(row.text)
        elif row.is_invalid:
            raise DatasetError(f"{path}:{row.line} {row.details}")
    return "".join(lines)


def read_text(path: Path) -> str:
    """Text of a file in UTF-8, without its byte order mark. Raises `DatasetError`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text: byte {error.start} is invalid; save it as UTF-8") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error


def _checked_row(line: int, fields: Sequence[str], class_count: int, keypoint_numbers: int) -> LabelLine | RowProblem:
    if not all(map(_NUMBER.fullmatch, fields)) or not float(fields[0]).is_integer():
        details = f"is not a YOLO label: expected a class id and numbers, got {' '.join(fields)[:60]!r}"
        return RowProblem(line, NOT_A_LABEL, details)
    class_id, numbers = int(float(fields[0])), [float(field) for field in fields[1:]]
    if not 0 <= class_id < class_count:
        details = f"has class id {class_id}, but there are {class_count} classes: ids are 0 to {class_count - 1}"
        return RowProblem(line, UNKNOWN_CLASS, details)
    if keypoint_numbers and len(numbers) == 4 + keypoint_numbers:
        numbers = numbers[:4]
    elif not keypoint_numbers and len(numbers) >= _POLYGON_NUMBERS and len(numbers) % 2 == 0:
        numbers = _bounding_box(numbers[::2], numbers[1::2])
    if len(numbers) != 4 or not all(-ROUNDING <= number <= 1 + ROUNDING for number in numbers):
        expected = "expected x_centre, y_centre, width and height, each 0 to 1"
        return RowProblem(line, NO_BOX, f"has no box: {expected}, got {' '.join(fields[1:])[:60]!r}")
    x_centre, y_centre, width, height = (f"{min(max(number, 0.0), 1.0):.6f}" for number in numbers)
    if not float(width) or not float(height):
        return RowProblem(line, NO_AREA, f"has a box without area: {' '.join(fields[1:])[:60]}", is_invalid=False)
    return LabelLine(class_id, (x_centre, y_centre, width, height))


def _bounding_box(xs: Sequence[float], ys: Sequence[float]) -> list[float]:
    """In centre form."""
    return [(min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)]


def _format_line(class_id: int, numbers: Iterable[float]) -> str:
    return f"{class_id} {' '.join(f'{number:.6f}' for number in numbers)}\n"
