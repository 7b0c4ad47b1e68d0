"""Alternatives of a box: other classes that the network finds likely, from both layouts of its output."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from libs.detection.tests.tiny_models import METADATA, constant_model, raw_rows
from savo_detection.detector import Detector
from savo_detection.output_decoders import LOWEST_LIKELIHOOD, MAX_ALTERNATIVES, decode_end_to_end, decode_raw

PICTURE = np.zeros((64, 64, 3), np.uint8)
BOX = (8.0, 8.0, 24.0, 24.0)


def raw(scores: list[float], *further: list[float]) -> NDArray[np.float32]:
    """Output with a box for each list of class scores, on the same spot."""
    output = raw_rows([(*BOX, 0, 0.0)] * (1 + len(further)), len(scores))
    for anchor, anchor_scores in enumerate((scores, *further)):
        output[0, 4:, anchor] = anchor_scores
    return output


def end_to_end(*rows: tuple[float, int]) -> NDArray[np.float32]:
    """Output with rows of (score, class id) on the same spot, and a row of another spot."""
    output = np.zeros((1, 20, 6), np.float32)
    for index, (score, class_id) in enumerate(rows):
        output[0, index] = (*BOX, score, class_id)
    output[0, -1] = (40, 40, 60, 60, 0.2, 2)
    return output


def found(answer: NDArray[np.float32]) -> list[tuple[str, list[tuple[str, float]]]]:
    boxes = Detector.load(constant_model(answer, metadata=METADATA)).detect_array(PICTURE)
    return [(box.label, [(o.label, round(o.likelihood, 3)) for o in box.alternatives]) for box in boxes]


def test_the_other_classes_of_a_raw_box_are_its_alternatives_the_most_likely_first() -> None:
    assert found(raw([0.1, 0.7, 0.4])) == [("milk", [("egg", 0.4), ("apple", 0.1)])]


def test_the_rows_with_the_same_corners_are_the_alternatives_of_an_end_to_end_box() -> None:
    assert found(end_to_end((0.7, 1), (0.1, 0), (0.2, 2))) == [("milk", [("egg", 0.2), ("apple", 0.1)])]


def test_unlikely_classes_are_no_alternatives() -> None:
    assert found(raw([0.01, 0.7, LOWEST_LIKELIHOOD])) == [("milk", [])]
    assert found(end_to_end((0.7, 1), (0.01, 0), (LOWEST_LIKELIHOOD, 2))) == [("milk", [])]


def test_a_suppressed_box_adds_no_alternative() -> None:
    assert found(raw([0.0, 0.7, 0.0], [0.3, 0.6, 0.0])) == [("milk", [])]


def test_an_end_to_end_box_without_other_rows_has_no_alternatives() -> None:
    assert found(end_to_end((0.7, 1))) == [("milk", [])]


def test_a_score_above_one_is_a_likelihood_of_one() -> None:
    assert found(raw([1.02, 1.04, 0.0]))[0] == ("milk", [("apple", 1.0)])


def test_an_unknown_class_id_is_no_alternative() -> None:
    output = end_to_end((0.7, 1))[0]
    output[1] = (*BOX, 0.3, -1)
    boxes = decode_end_to_end(output, 0.25, 0.45, 300)
    assert boxes.alternatives[0][0][0] == -1
    detector = Detector.load(constant_model(output[None], metadata=METADATA))
    assert [box.alternatives for box in detector.detect_array(PICTURE)] == [()]


def test_alternatives_are_limited_in_both_layouts() -> None:
    scores = [0.9, 0.5, 0.4, 0.3, 0.2]
    from_raw = decode_raw(raw(scores)[0], 0.25, 0.45, 300)
    from_rows = decode_end_to_end(end_to_end(*((score, n) for n, score in enumerate(scores)))[0], 0.85, 0.45, 300)
    for boxes in (from_raw, from_rows):
        assert [class_id for class_id, _ in boxes.alternatives[0]] == [1, 2, 3]
        assert len(boxes.alternatives[0]) == MAX_ALTERNATIVES
