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
    place = Letterbox.fit(width, height, input_width, input_height)
    assert place.left >= 0
    assert place.top >= 0
    assert place.left + place.width <= input_width
    assert place.top + place.height <= input_height
    assert place.width == input_width or place.height == input_height


@given(sides, sides, inputs, st.tuples(*[st.floats(0, 1)] * 4))
def test_a_box_comes_back_where_it_was(width: int, height: int, side: int, box: tuple[float, ...]) -> None:
    place = Letterbox.fit(width, height, side, side)
    there = place.to_input(np.asarray([box]))
    back = place.to_photo(there.astype(np.float32))
    assert np.abs(back - np.asarray([box])).max() <= 1e-3 / min(place.width, place.height) * side


@given(sides, sides, inputs)
def test_a_rectangular_input_holds_the_photo_as_large_with_less_than_a_stride_to_spare(
    width: int, height: int, side: int
) -> None:
    square = Letterbox.fit(width, height, side, side)
    fitted = square.rectangular()
    assert (fitted.width, fitted.height) == (square.width, square.height)
    sides = [
        (fitted.width, fitted.input_width, square.input_width),
        (fitted.height, fitted.input_height, square.input_height),
    ]
    for photo_side, whole, most in sides:
        assert photo_side <= whole <= most
        assert whole % STRIDE == 0
        assert whole - photo_side < STRIDE
    assert 0 <= fitted.left <= fitted.input_width - fitted.width
    assert 0 <= fitted.top <= fitted.input_height - fitted.height


@given(st.integers(1, 200), st.integers(1, 200))
@settings(deadline=None, max_examples=50)
def test_padding_is_grey_and_the_photo_is_where_the_letterbox_says(width: int, height: int) -> None:
    tensor = np.full((3, 64, 64), np.nan, np.float32)
    place = Letterbox.fit(width, height, 64, 64)
    letterbox(np.full((height, width, 3), 255, np.uint8), place, tensor)
    inside = np.zeros((64, 64), bool)
    inside[place.top : place.top + place.height, place.left : place.left + place.width] = True
    assert np.allclose(tensor[:, inside], 1.0)
    assert np.allclose(tensor[:, ~inside], 114 / 255)


def naive(boxes: NDArray[np.float32], scores: NDArray[np.float32], classes: NDArray[np.int64], iou: float) -> list[int]:
    """The textbook's loop over pairs."""
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda at: (-scores[at], at)):
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


def test_equal_boxes_of_different_classes_both_stay_and_the_limit_holds() -> None:
    boxes = np.repeat(np.asarray([[0, 0, 10, 10]], np.float32), 3, axis=0)
    scores = np.asarray([0.5, 0.9, 0.7], np.float32)
    assert suppress(boxes, scores, np.asarray([0, 1, 1]), iou=0.7, limit=300).tolist() == [1, 0]
    assert suppress(boxes, scores, np.asarray([0, 1, 2]), iou=0.7, limit=2).tolist() == [1, 2]
