"""Bounding boxes: conversions keep them, and invalid boxes are refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from savo_contracts.geometry import GEMINI_SCALE, BoundingBox

fraction = st.floats(0, 1, allow_nan=False)


@st.composite
def boxes(draw: st.DrawFn) -> BoundingBox:
    left, right = sorted((draw(fraction), draw(fraction)))
    top, bottom = sorted((draw(fraction), draw(fraction)))
    # Boxes thinner than a hundredth of a pixel do not occur.
    right, bottom = max(right, min(1.0, left + 1e-5)), max(bottom, min(1.0, top + 1e-5))
    left, top = min(left, right - 1e-5), min(top, bottom - 1e-5)
    return BoundingBox.from_corners(left, top, right, bottom)


def close(first: BoundingBox, second: BoundingBox, tolerance: float) -> bool:
    pairs = zip(
        (first.x, first.y, first.right, first.bottom), (second.x, second.y, second.right, second.bottom), strict=True
    )
    return all(math.isclose(a, b, abs_tol=tolerance) for a, b in pairs)


@given(boxes())
def test_a_box_survives_conversion_to_yolo_form_and_back(box: BoundingBox) -> None:
    again = BoundingBox.from_yolo(box.to_yolo())
    assert again is not None
    assert close(again, box, 1e-6)


@given(boxes(), st.integers(1, 20_000), st.integers(1, 20_000))
def test_a_box_survives_conversion_to_pixels_and_back(box: BoundingBox, width: int, height: int) -> None:
    assert close(BoundingBox.from_pixels(box.to_pixels(width, height), width, height), box, 1e-6)


@given(st.tuples(*[st.integers(0, GEMINI_SCALE)] * 4).filter(lambda c: c[0] < c[2] and c[1] < c[3]))
def test_corners_survive_conversion_from_gemini_form_and_back(corners: tuple[int, int, int, int]) -> None:
    assert BoundingBox.from_gemini(corners).to_gemini() == corners


def test_gemini_form_has_y_before_x() -> None:
    box = BoundingBox.from_gemini((100, 200, 300, 600))
    assert (box.x, box.y, round(box.width, 9), round(box.height, 9)) == (0.2, 0.1, 0.4, 0.2)


@pytest.mark.parametrize(
    "corners", [(300, 200, 100, 600), (100, 600, 300, 200), (100, 200, 100, 600), (-1, 0, 10, 10), (0, 0, 10, 1001)]
)
def test_swapped_empty_or_outside_gemini_corners_are_refused_not_repaired(corners: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValidationError):
        BoundingBox.from_gemini(corners)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"x": -0.1, "y": 0, "width": 0.5, "height": 0.5}, "x"),
        ({"x": 0, "y": 0, "width": 0, "height": 0.5}, "width"),
        ({"x": 0, "y": 0, "width": 0.5, "height": float("nan")}, "height"),
        ({"x": 0, "y": 0, "width": 0.5, "height": 1.5}, "height"),
        ({"x": 0.6, "y": 0, "width": 0.5, "height": 0.5}, "right edge"),
        ({"x": 0, "y": 0.6, "width": 0.5, "height": 0.5}, "bottom edge"),
    ],
)
def test_an_invalid_box_is_refused_with_the_name_of_the_field(values: dict[str, float], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        BoundingBox.model_validate(values)


@given(boxes(), boxes())
def test_iou_is_symmetric_and_a_fraction(first: BoundingBox, second: BoundingBox) -> None:
    assert 0 <= first.iou(second) <= 1 + 1e-9
    assert math.isclose(first.iou(second), second.iou(first), abs_tol=1e-12)


@given(boxes())
def test_a_box_overlaps_itself_completely(box: BoundingBox) -> None:
    assert math.isclose(box.iou(box), 1, rel_tol=1e-6)


def test_iou_of_known_boxes() -> None:
    left, right = BoundingBox(x=0, y=0, width=0.5, height=1), BoundingBox(x=0.25, y=0, width=0.5, height=1)
    assert math.isclose(left.iou(right), 1 / 3)
    assert left.iou(BoundingBox(x=0.5, y=0, width=0.5, height=1)) == 0


@given(*[st.floats(-2, 3, allow_nan=False)] * 4)
def test_clipping_leaves_a_box_inside_or_nothing(left: float, top: float, right: float, bottom: float) -> None:
    box = BoundingBox.clipped(left, top, right, bottom)
    if box is None:
        assert max(0, left) >= min(1, right) or max(0, top) >= min(1, bottom)
    else:
        assert 0 <= box.x < box.right <= 1
        assert 0 <= box.y < box.bottom <= 1
