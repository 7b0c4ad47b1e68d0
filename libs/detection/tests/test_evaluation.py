"""Evaluation: matching, average precision, bootstrap and comparison of two models."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from savo_contracts.geometry import BoundingBox
from savo_detection.detector import DetectedBox
from savo_detection.evaluation.average_precision import ClassCurves, ImageRecord, group_weights, mean_of_present
from savo_detection.evaluation.evaluator import EvaluationSample, compare, evaluate, match, summarise


def box(x: float, width: float = 0.1) -> BoundingBox:
    return BoundingBox(x=x, y=0.0, width=width, height=0.5)


def found(label: str, confidence: float, bbox: BoundingBox) -> DetectedBox:
    return DetectedBox(0, label, confidence, bbox)


def record(name: str, group: str, label: str, hits: list[tuple[float, bool]], truth: int) -> ImageRecord:
    return ImageRecord(
        name,
        group,
        (label,) * len(hits),
        tuple(score for score, _ in hits),
        tuple(hit for _, hit in hits),
        {label: truth} if truth else {},
    )


def test_the_detection_of_higher_confidence_is_matched_and_the_second_is_a_false_positive() -> None:
    truth = [("egg", box(0.1)), ("egg", box(0.5)), ("milk", box(0.8))]
    detections = [
        found("egg", 0.9, box(0.1)),
        found("egg", 0.8, box(0.11)),
        found("milk", 0.7, box(0.5)),
        found("egg", 0.6, box(0.53)),
        found("milk", 0.5, box(0.8)),
    ]
    assert match(detections, truth) == [True, False, False, True, True]


def test_overlap_of_exactly_one_half_counts() -> None:
    assert match([found("egg", 0.9, box(0.0, 0.5))], [("egg", box(0.0, 0.25))]) == [True]
    assert match([found("egg", 0.9, box(0.0, 0.5))], [("egg", box(0.0, 0.24))]) == [False]


def test_map_equals_a_hand_calculated_example() -> None:
    """Egg: hit, miss, hit of 2 true boxes: (recall, precision) = (½, 1), (½, ½), (1, ⅔).

    The envelope is 1 up to recall ½ and ⅔ above. At 101 recalls each step costs half an interval of 0.01 times its
    height: AP = ½ · 1 + ½ · ⅔ − 0.005 · (1 − ⅔) − 0.005 · ⅔ = 0.82833 (the last step goes to 0 at recall 1).
    Milk: one of two true boxes is found. The envelope is 1 up to ½, then 0: AP = ½ − 0.005 · 1 = 0.495.
    """
    records = [
        record("a", "u1", "egg", [(0.9, True), (0.8, False)], 1),
        record("b", "u2", "egg", [(0.7, True)], 1),
        record("c", "u3", "milk", [(0.9, True)], 2),
    ]
    result = summarise(records)
    egg, milk = result.per_class["egg"], result.per_class["milk"]
    assert egg == pytest.approx(0.82833, abs=1e-5)
    assert milk == pytest.approx(0.495, abs=1e-5)
    assert result.map50 == pytest.approx((egg + milk) / 2)
    assert (result.images, result.boxes) == (3, 4)


def test_a_perfect_model_has_0_995_as_in_ultralytics() -> None:
    perfect = [record(str(i), f"u{i}", "egg", [(0.9, True)], 1) for i in range(20)]
    assert summarise(perfect).map50 == pytest.approx(0.995)


def test_a_model_without_detections_has_0() -> None:
    assert summarise([record(str(i), f"u{i}", "egg", [], 1) for i in range(20)]).map50 == 0.0


def test_a_class_without_true_boxes_does_not_count() -> None:
    perfect = [record(str(i), f"u{i}", "egg", [(0.9, True)], 1) for i in range(20)]
    with_noise = [*perfect, record("x", "u99", "cheese", [(0.5, False)], 0)]
    assert summarise(with_noise).per_class == {"egg": pytest.approx(0.995)}


def test_without_a_true_box_map_is_undefined() -> None:
    with pytest.raises(ValueError, match="no photo has a true box"):
        summarise([record("a", "u", "egg", [(0.9, False)], 0)])


class FakeDetector:
    """Finds the given boxes by the photo's bytes."""

    def __init__(self, answers: dict[bytes, list[DetectedBox]]) -> None:
        self.answers = answers

    def detect(self, photo: bytes, confidence: float = 0.25) -> list[DetectedBox]:
        return [answer for answer in self.answers[photo] if answer.confidence > confidence]


def test_a_detector_is_measured_at_low_confidence_on_all_samples() -> None:
    detector = FakeDetector({b"1": [found("egg", 0.002, box(0.1))], b"2": [found("egg", 0.9, box(0.6))]})
    samples = [EvaluationSample(b"1", [("egg", box(0.1))], "u1"), EvaluationSample(b"2", [("egg", box(0.1))], "u2")]
    result = evaluate(detector, samples)
    assert [entry.correct for entry in result.records] == [(True,), (False,)]
    assert result.per_class["egg"] == pytest.approx(0.25, abs=0.01)


def simulated(seed: int, skill: float, photos: int = 120, groups: int = 30) -> list[ImageRecord]:
    rng = np.random.default_rng(seed)
    truth_rng = np.random.default_rng(99)
    records = []
    for index in range(photos):
        truth = {label: int(truth_rng.integers(0, 4)) for label in ("egg", "milk", "apple")}
        rows = [
            (label, rng.uniform(0.4, 1.0) if hit else rng.uniform(0, 0.7), hit)
            for label, count in truth.items()
            for hit in rng.random(count) < skill
        ]
        rows.sort(key=lambda row: -row[1])
        records.append(
            ImageRecord(
                str(index),
                f"u{index % groups}",
                tuple(row[0] for row in rows),
                tuple(row[1] for row in rows),
                tuple(bool(row[2]) for row in rows),
                truth,
            )
        )
    return records


def test_a_weight_counts_like_repeated_photos() -> None:
    records = simulated(1, 0.6, photos=12)
    counts = [0, 2, 1, 3, 0, 1, 1, 0, 2, 1, 0, 1]
    repeated = [
        replace(entry, name=f"{entry.name}-{copy}")
        for entry, count in zip(records, counts, strict=True)
        for copy in range(count)
    ]
    weighted = mean_of_present(ClassCurves.of(records).precisions(np.asarray([counts])))[0]
    assert weighted == pytest.approx(summarise(repeated, resamples=1).map50, abs=0.02)


@given(st.integers(1, 30), st.integers(1, 10), st.integers(0, 2**32 - 1))
def test_all_photos_of_a_group_have_the_same_weight(photos: int, groups: int, seed: int) -> None:
    members = [f"u{index % groups}" for index in range(photos)]
    weights = group_weights(members, 20, seed)
    assert weights.shape == (20, photos)
    for name in set(members):
        rows = weights[:, [index for index, member in enumerate(members) if member == name]]
        assert (rows == rows[:, :1]).all()


def test_the_interval_contains_the_point_estimate() -> None:
    many, few = summarise(simulated(1, 0.7, groups=60)), summarise(simulated(1, 0.7, groups=4))
    assert many.lower < many.map50 < many.upper
    assert 0 < many.upper - many.lower < 0.2
    assert few.map50 == many.map50


def test_the_same_seed_gives_the_same_interval() -> None:
    records = simulated(1, 0.7)
    assert (summarise(records, seed=5).lower, summarise(records, seed=5).upper) == (
        summarise(records, seed=5).lower,
        summarise(records, seed=5).upper,
    )
    assert summarise(records, seed=5).lower != summarise(records, seed=6).lower


def test_the_gain_of_a_better_model_is_significant_and_of_an_equal_model_is_not() -> None:
    better = compare(simulated(1, 0.8), simulated(2, 0.5))
    assert 0 < better.lower < better.gain < better.upper
    same = compare(simulated(1, 0.7), simulated(1, 0.7))
    assert (same.gain, same.lower, same.upper) == (0.0, 0.0, 0.0)
    equal = compare(simulated(1, 0.7), simulated(2, 0.7))
    assert equal.lower < 0 < equal.upper


def test_a_loss_in_one_class_is_reported_when_the_mean_rises() -> None:
    champion = simulated(1, 0.6)
    candidate = [replace(entry, correct=tuple(label != "milk" for label in entry.labels)) for entry in champion]
    gain = compare(candidate, champion)
    milk = gain.per_class["milk"]
    assert gain.gain > 0
    assert milk.gain < -0.3
    assert milk.boxes == sum(entry.truth["milk"] for entry in champion)
    assert milk.chance_above(-0.1) < 0.01
    assert gain.per_class["egg"].chance_above(-0.1) > 0.99


def test_different_photos_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="same photos"):
        compare(simulated(1, 0.7), simulated(1, 0.7)[1:])


def test_a_thousand_resamples_of_a_thousand_photos_take_seconds() -> None:
    records = simulated(1, 0.7, photos=1000, groups=100)
    began = time.process_time()
    summarise(records)
    assert time.process_time() - began < 20, "CPU time of this process"


@pytest.mark.torch
def test_average_precision_equals_ultralytics_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Otherwise importing ultralytics checks for a connection and writes settings to the home folder.
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    metrics = pytest.importorskip("ultralytics.utils.metrics")
    records = simulated(3, 0.65, photos=300)
    labels = ["apple", "egg", "milk"]
    rows = [
        (score, labels.index(label), hit)
        for entry in records
        for label, score, hit in zip(entry.labels, entry.scores, entry.correct, strict=True)
    ]
    scores, classes, hits = (np.asarray(column) for column in zip(*rows, strict=True))
    truth = np.asarray(
        [labels.index(label) for entry in records for label, count in entry.truth.items() for _ in range(count)]
    )
    theirs = metrics.ap_per_class(hits[:, None], scores, classes, truth)[5][:, 0]
    ours = summarise(records, resamples=1).per_class
    assert [ours[label] for label in labels] == pytest.approx(theirs.tolist(), abs=1e-6)
