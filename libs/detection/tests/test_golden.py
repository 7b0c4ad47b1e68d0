"""Golden pictures: which photos are kept, and what counts as seeing something else."""

from __future__ import annotations

import hashlib

import pytest

from savo_contracts.geometry import BoundingBox
from savo_detection.evaluation.golden_pictures import GoldenPictureRecorder, first_difference
from savo_detection.model import DetectedBox

PLACE = BoundingBox(x=0.2, y=0.2, width=0.4, height=0.4)
NEARLY_THERE = BoundingBox(x=0.205, y=0.2, width=0.4, height=0.4)
ELSEWHERE = BoundingBox(x=0.3, y=0.3, width=0.4, height=0.4)


def seen(label: str = "egg", confidence: float = 0.9, place: BoundingBox = PLACE) -> DetectedBox:
    return DetectedBox(0, label, confidence, place)


class Eyes:
    """Sees what it was told to see in each photo."""

    def __init__(self, sights: dict[bytes, list[DetectedBox]]) -> None:
        self.sights = sights

    def detect(self, photo: bytes, confidence: float = 0.25) -> list[DetectedBox]:
        return [box for box in self.sights[photo] if box.confidence >= confidence]


def test_the_photos_without_doubt_are_kept_fullest_first() -> None:
    sights = {
        b"nothing": [],
        b"doubtful": [seen(), seen("milk"), seen("leek", 0.4)],
        b"one": [seen(confidence=0.8)],
        b"one, surer": [seen(confidence=0.95)],
        b"two": [seen(), seen("milk"), seen("leek", 0.1)],
    }
    watched = GoldenPictureRecorder(Eyes(sights))
    for photo in sights:
        watched.detect(photo, 0.001)
    assert [golden.sha256 for golden in watched.pictures()] == [
        hashlib.sha256(photo).hexdigest() for photo in (b"two", b"one, surer", b"one")
    ]
    assert [box.label for box in watched.pictures()[0].boxes] == ["egg", "milk"], (
        "what is hardly seen is not expected again"
    )


def test_a_doubtful_photo_is_better_than_none() -> None:
    watched = GoldenPictureRecorder(Eyes({b"doubtful": [seen(), seen("leek", 0.4)], b"nothing": []}))
    for photo in (b"doubtful", b"nothing"):
        watched.detect(photo)
    assert len(watched.pictures()) == 1


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([seen()], None),
        ([seen(confidence=0.84, place=NEARLY_THERE), seen("milk", 0.5)], None),
        ([], "egg (0.90) is not where it was"),
        ([seen("milk")], "egg (0.90) is not where it was"),
        ([seen(place=ELSEWHERE)], "egg (0.90) is not where it was"),
        ([seen(confidence=0.7)], "egg has a confidence of 0.70 instead of 0.90"),
        ([seen(), seen("milk", 0.8)], "milk (0.80) was not there"),
        ([seen(), seen()], "egg (0.90) was not there"),
    ],
)
def test_what_counts_as_seeing_something_else(found: list[DetectedBox], words: str | None) -> None:
    assert first_difference([seen()], found) == words
