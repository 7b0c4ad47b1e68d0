"""Golden pictures: which photos are recorded, and which differences are reported."""

from __future__ import annotations

import hashlib

import pytest

from savo_contracts.geometry import BoundingBox
from savo_detection.detector import DetectedBox
from savo_detection.evaluation.golden_pictures import GoldenPictureRecorder, first_difference

POSITION = BoundingBox(x=0.2, y=0.2, width=0.4, height=0.4)
NEARLY_THERE = BoundingBox(x=0.205, y=0.2, width=0.4, height=0.4)
ELSEWHERE = BoundingBox(x=0.3, y=0.3, width=0.4, height=0.4)


def box(label: str = "egg", confidence: float = 0.9, bbox: BoundingBox = POSITION) -> DetectedBox:
    return DetectedBox(0, label, confidence, bbox)


class FakeDetector:
    """Finds the given boxes by the photo's bytes."""

    def __init__(self, answers: dict[bytes, list[DetectedBox]]) -> None:
        self.answers = answers

    def detect(self, photo: bytes, confidence: float = 0.25) -> list[DetectedBox]:
        return [found for found in self.answers[photo] if found.confidence >= confidence]


def test_photos_without_doubtful_boxes_are_recorded_and_those_with_most_boxes_come_first() -> None:
    answers = {
        b"nothing": [],
        b"doubtful": [box(), box("milk"), box("leek", 0.4)],
        b"one": [box(confidence=0.8)],
        b"one, surer": [box(confidence=0.95)],
        b"two": [box(), box("milk"), box("leek", 0.1)],
    }
    recorder = GoldenPictureRecorder(FakeDetector(answers))
    for photo in answers:
        recorder.detect(photo, 0.001)
    assert [golden.sha256 for golden in recorder.pictures()] == [
        hashlib.sha256(photo).hexdigest() for photo in (b"two", b"one, surer", b"one")
    ]
    labels = [found.label for found in recorder.pictures()[0].boxes]
    assert labels == ["egg", "milk"], "boxes of low confidence need not be found again"


def test_a_doubtful_photo_is_recorded_when_there_are_no_better_photos() -> None:
    recorder = GoldenPictureRecorder(FakeDetector({b"doubtful": [box(), box("leek", 0.4)], b"nothing": []}))
    for photo in (b"doubtful", b"nothing"):
        recorder.detect(photo)
    assert len(recorder.pictures()) == 1


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        ([box()], None),
        ([box(confidence=0.84, bbox=NEARLY_THERE), box("milk", 0.5)], None),
        ([], "egg (0.90) is not found at its position"),
        ([box("milk")], "egg (0.90) is not found at its position"),
        ([box(bbox=ELSEWHERE)], "egg (0.90) is not found at its position"),
        ([box(confidence=0.7)], "egg has a confidence of 0.70 instead of 0.90"),
        ([box(), box("milk", 0.8)], "milk (0.80) is found but was not expected"),
        ([box(), box()], "egg (0.90) is found but was not expected"),
    ],
)
def test_the_first_difference_from_the_expected_boxes_is_reported(
    found: list[DetectedBox], difference: str | None
) -> None:
    assert first_difference([box()], found) == difference
