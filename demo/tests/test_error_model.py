from __future__ import annotations

import hashlib

import numpy as np
import pytest

from savo_contracts.geometry import BoundingBox
from savo_datasets.labels import TruthBox
from savo_demo.drawing.scenes import CLASSES
from savo_demo.standin.error_model import DetectedItem, ErrorModel

BOX = BoundingBox(x=0.3, y=0.3, width=0.2, height=0.4)
ANSWERS = 2000


@pytest.fixture(scope="module")
def answers() -> list[list[DetectedItem]]:
    """2,000 photos with one egg each."""
    return [ErrorModel().answer([TruthBox("egg", BOX)], CLASSES, _photo(number)) for number in range(ANSWERS)]


def _photo(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def bounds(probability: float, tries: int) -> tuple[float, float]:
    """Four standard errors to each side: a right model fails once in 16,000 times."""
    spread = 4 * (probability * (1 - probability) / tries) ** 0.5
    return probability - spread, probability + spread


def test_one_item_in_ten_is_missed(answers: list[list[DetectedItem]]) -> None:
    low, high = bounds(0.10, ANSWERS)
    assert low < sum(not answer for answer in answers) / ANSWERS < high


def test_eight_of_a_hundred_items_have_a_wrong_label(answers: list[list[DetectedItem]]) -> None:
    detected = [answer[0] for answer in answers if answer]
    low, high = bounds(0.08, len(detected))
    assert low < sum(item.label != "egg" for item in detected) / len(detected) < high


def test_boxes_are_off_by_four_percent_of_their_size(answers: list[list[DetectedItem]]) -> None:
    detected = [answer[0].bbox for answer in answers if answer]
    for shifts in (
        [(box.x - BOX.x) / BOX.width for box in detected],
        [(box.bottom - BOX.bottom) / BOX.height for box in detected],
    ):
        assert abs(float(np.mean(shifts))) < 0.005
        assert 0.037 < float(np.std(shifts)) < 0.043


def test_the_same_photo_always_gets_the_same_answer() -> None:
    truth = [TruthBox("egg", BOX), TruthBox("milk", BOX)]
    assert ErrorModel().answer(truth, CLASSES, _photo(1)) == ErrorModel().answer(truth, CLASSES, _photo(1))
    assert ErrorModel(seed=8).answer(truth, CLASSES, _photo(1)) != ErrorModel(seed=7).answer(truth, CLASSES, _photo(1))


def test_boxes_stay_inside_the_photo() -> None:
    edge = BoundingBox(x=0, y=0, width=1, height=1)
    for number in range(200):
        assert all(
            item.bbox.right <= 1
            for item in ErrorModel(miss=0, jitter=0.5).answer([TruthBox("egg", edge)], CLASSES, _photo(number))
        )


def test_with_one_class_there_is_no_wrong_label() -> None:
    assert [item.label for item in ErrorModel(miss=0, wrong=1).answer([TruthBox("egg", BOX)], ("egg",), _photo(1))] == [
        "egg"
    ]


def test_latency_has_the_configured_median_and_p95() -> None:
    rng, model = np.random.default_rng(1), ErrorModel()
    waits = [model.latency_seconds(rng) * 1000 for _ in range(20_000)]
    assert float(np.median(waits)) == pytest.approx(600, rel=0.02)
    assert float(np.percentile(waits, 95)) == pytest.approx(1200, rel=0.03)


def test_a_scaled_latency_is_in_the_description() -> None:
    fast = ErrorModel(latency_scale=0.1)
    assert fast.latency_seconds(np.random.default_rng(1)) == pytest.approx(
        ErrorModel().latency_seconds(np.random.default_rng(1)) / 10
    )
    assert "scaled to 10%" in fast.description()
    assert "scaled" not in ErrorModel().description()


def test_one_request_in_a_hundred_fails() -> None:
    rng = np.random.default_rng(3)
    low, high = bounds(0.01, 20_000)
    assert low < sum(ErrorModel().fails(rng) for _ in range(20_000)) / 20_000 < high


def test_the_description_contains_every_number() -> None:
    text = ErrorModel().description()
    for number in ("10%", "8%", "4%", "600 ms", "1200 ms", "1%", "seed 7"):
        assert number in text
