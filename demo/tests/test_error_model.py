from __future__ import annotations

import hashlib

import numpy as np
import pytest

from savo_contracts.geometry import BoundingBox
from savo_datasets.labels import TruthBox
from savo_demo.drawing.scenes import CLASSES
from savo_demo.standin.error_model import ErrorModel, Seen

BOX = BoundingBox(x=0.3, y=0.3, width=0.2, height=0.4)
ANSWERS = 2000


@pytest.fixture(scope="module")
def answers() -> list[list[Seen]]:
    """2,000 photos with one egg each."""
    return [ErrorModel().answer([TruthBox("egg", BOX)], CLASSES, _photo(number)) for number in range(ANSWERS)]


def _photo(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def bounds(probability: float, tries: int) -> tuple[float, float]:
    """Four standard errors to each side: a right model fails once in 16,000 times."""
    spread = 4 * (probability * (1 - probability) / tries) ** 0.5
    return probability - spread, probability + spread


def test_one_item_in_ten_is_missed(answers: list[list[Seen]]) -> None:
    low, high = bounds(0.10, ANSWERS)
    assert low < sum(not answer for answer in answers) / ANSWERS < high


def test_eight_of_a_hundred_are_named_wrong(answers: list[list[Seen]]) -> None:
    seen = [answer[0] for answer in answers if answer]
    low, high = bounds(0.08, len(seen))
    assert low < sum(item.label != "egg" for item in seen) / len(seen) < high


def test_boxes_are_off_by_four_percent_of_their_size(answers: list[list[Seen]]) -> None:
    seen = [answer[0].bbox for answer in answers if answer]
    for shifts in (
        [(box.x - BOX.x) / BOX.width for box in seen],
        [(box.bottom - BOX.bottom) / BOX.height for box in seen],
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


def test_with_one_class_nothing_can_be_mistaken() -> None:
    assert [item.label for item in ErrorModel(miss=0, wrong=1).answer([TruthBox("egg", BOX)], ("egg",), _photo(1))] == [
        "egg"
    ]


def test_latency_has_the_median_and_p95_that_were_asked_for() -> None:
    rng, model = np.random.default_rng(1), ErrorModel()
    waits = [model.latency_seconds(rng) * 1000 for _ in range(20_000)]
    assert float(np.median(waits)) == pytest.approx(600, rel=0.02)
    assert float(np.percentile(waits, 95)) == pytest.approx(1200, rel=0.03)


def test_latency_is_scaled_and_the_words_say_so() -> None:
    fast = ErrorModel(latency_scale=0.1)
    assert fast.latency_seconds(np.random.default_rng(1)) == pytest.approx(
        ErrorModel().latency_seconds(np.random.default_rng(1)) / 10
    )
    assert "scaled to 10%" in fast.in_words()
    assert "scaled" not in ErrorModel().in_words()


def test_one_request_in_a_hundred_fails() -> None:
    rng = np.random.default_rng(3)
    low, high = bounds(0.01, 20_000)
    assert low < sum(ErrorModel().fails(rng) for _ in range(20_000)) / 20_000 < high


def test_the_words_name_every_number() -> None:
    words = ErrorModel().in_words()
    for number in ("10%", "8%", "4%", "600 ms", "1200 ms", "1%", "seed 7"):
        assert number in words
