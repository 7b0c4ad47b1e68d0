"""YOLO label files: reading, checks and writing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from savo_contracts.geometry import BoundingBox
from savo_datasets.errors import DatasetError
from savo_datasets.labels import TruthBox, format_labels, read_labels, truth_boxes

NAMES = ("tomato", "banana")


def label_file(folder: Path, text: str) -> Path:
    path = folder / "photo.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_polygon_becomes_the_box_around_it(tmp_path: Path) -> None:
    path = label_file(tmp_path, "1 0.1 0.2 0.5 0.2 0.3 0.6\n\n0 0.5 0.5 0.2 0.2\n")
    assert read_labels(path, 2) == "1 0.300000 0.400000 0.400000 0.400000\n0 0.500000 0.500000 0.200000 0.200000\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2 0.5 0.5 0.1 0.1", "has class id 2, but there are 2 classes: ids are 0 to 1"),
        ("-1 0.5 0.5 0.1 0.1", "has class id -1"),
        ("tomato 0.5 0.5 0.1 0.1", "is not a YOLO label: .* got 'tomato 0.5 0.5 0.1 0.1'"),
        ("0 0.5 0.5 1.1 0.1", "each 0 to 1, got '0.5 0.5 1.1 0.1'"),
        ("0 0.5 0.5 nan 0.1", "each 0 to 1"),
        ("0 0.5 0.5 0.1", "expected x_centre, y_centre, width and height"),
        ("0 0.1 0.1 0.2 0.2 0.3", "expected x_centre, y_centre, width and height"),
    ],
)
def test_an_invalid_line_is_refused_with_file_and_line(tmp_path: Path, line: str, reason: str) -> None:
    path = label_file(tmp_path, f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(DatasetError, match=reason) as caught:
        read_labels(path, 2)
    assert str(caught.value).startswith(f"{path}:2")


def test_boxes_are_clipped_to_the_photo_and_boxes_without_area_are_left_out() -> None:
    (box,) = truth_boxes("0 0.95 0.5 0.2 0.2\n1 0.5 0.5 0 0.2\n", NAMES)
    assert (box.label, box.bbox.right) == ("tomato", 1.0)
    assert box.bbox.x == pytest.approx(0.85)


sides = st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda side: abs(side[0] - side[1]) > 1e-3).map(sorted)


@given(st.lists(st.tuples(st.sampled_from(NAMES), sides, sides), max_size=5))
def test_boxes_are_read_as_they_were_written(drawn: list[tuple[str, list[float], list[float]]]) -> None:
    boxes = [
        TruthBox(name, BoundingBox.from_corners(left, top, right, bottom))
        for name, (left, right), (top, bottom) in drawn
    ]
    read = truth_boxes(format_labels(boxes, NAMES), NAMES)
    assert [box.label for box in read] == [box.label for box in boxes]
    assert all(found.bbox.iou(box.bbox) > 0.99 for found, box in zip(read, boxes, strict=True))
