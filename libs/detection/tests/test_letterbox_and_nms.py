"""Letterbox and non-maximum suppression."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from savo_detection.nms import iou_of, suppress
from savo_detection.photos.letterbox import STRIDE, Letterbox, letterbox

sides = st.integers(1, 5000)
inputs = st.sampled_from([64, 160, 320, 640])


@given(sides, sides, inputs, inputs)
def test_the_photo_fills_one_side_and_stays_inside(
    width: int, height: int, input_width: int, input_height: int
) -> None:
    placement = Letterbox.fit(width, height, input_width, input_height)
    assert placement.left >= 0
    assert placement.top >= 0
    assert placement.left + placement.width <= input_width
    assert placement.top + placement.height <= input_height
    assert placement.width == input_width or placement.height == input_height


@given(sides, sides, inputs, st.tuples(*[st.floats(0, 1)] * 4))
def test_a_box_survives_mapping_to_the_input_and_back(
    width: int, height: int, side: int, box: tuple[float, ...]
) -> None:
    placement = Letterbox.fit(width, height, side, side)
    mapped = placement.to_input(np.asarray([box]))
    back = placement.to_photo(mapped.astype(np.float32))
    assert np.abs(back - np.asarray([box])).max() <= 1e-3 / min(placement.width, placement.height) * side


@given(sides, sides, inputs)
def test_a_rectangular_input_is_the_smallest_that_contains_the_photo_at_the_same_size(
    width: int, height: int, side: int
) -> None:
    square = Letterbox.fit(width, height, side, side)
    fitted = square.rectangular()
    assert (fitted.width, fitted.height) == (square.width, square.height)
    sides = [
        (fitted.width, fitted.input_width, square.input_width),
        (fitted.height, fitted.input_height, square.input_height),
    ]
    for photo_side, input_side, square_side in sides:
        assert photo_side <= input_side <= square_side
        assert input_side % STRIDE == 0
        assert input_side - photo_side < STRIDE
    assert 0 <= fitted.left <= fitted.input_width - fitted.width
    assert 0 <= fitted.top <= fitted.input_height - fitted.height


@given(st.integers(1, 200), st.integers(1, 200))
@settings(deadline=None, max_examples=50)
def test_the_photo_is_at_its_position_and_padding_is_grey(width: int, height: int) -> None:
    tensor = np.full((3, 64, 64), np.nan, np.float32)
    placement = Letterbox.fit(width, height, 64, 64)
    letterbox(np.full((height, width, 3), 255, np.uint8), placement, tensor)
    inside = np.zeros((64, 64), bool)
    inside[placement.top : placement.top + placement.height, placement.left : placement.left + placement.width] = True
    assert np.allclose(tensor[:, inside], 1.0)
    assert np.allclose(tensor[:, ~inside], 114 / 255)


def naive(boxes: NDArray[np.float32], scores: NDArray[np.float32], classes: NDArray[np.int64], iou: float) -> list[int]:
    """Textbook implementation with a loop over pairs."""
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda candidate: (-scores[candidate], candidate)):
        if all(
            classes[index] != classes[other] or iou_of(boxes[other], boxes[index][None])[0] <= iou for other in kept
        ):
            kept.append(index)
    return kept


@given(st.integers(0, 60), st.integers(1, 4), st.floats(0.1, 0.9), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_suppression_equals_the_naive_reference(count: int, classes: int, iou: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    centres, sizes = rng.uniform(0, 100, (count, 2)), rng.uniform(5, 60, (count, 2))
    boxes = np.concatenate((centres - sizes / 2, centres + sizes / 2), axis=1).astype(np.float32)
    scores = np.round(rng.uniform(0, 1, count), 1).astype(np.float32)
    class_ids = rng.integers(0, classes, count)
    assert suppress(boxes, scores, class_ids, iou=iou, limit=1000).tolist() == naive(boxes, scores, class_ids, iou)


def test_equal_boxes_of_different_classes_are_kept_up_to_the_limit() -> None:
    boxes = np.repeat(np.asarray([[0, 0, 10, 10]], np.float32), 3, axis=0)
    scores = np.asarray([0.5, 0.9, 0.7], np.float32)
    assert suppress(boxes, scores, np.asarray([0, 1, 1]), iou=0.7, limit=300).tolist() == [1, 0]
    assert suppress(boxes, scores, np.asarray([0, 1, 2]), iou=0.7, limit=2).tolist() == [1, 2]
