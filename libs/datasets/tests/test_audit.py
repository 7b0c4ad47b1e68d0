"""Audit of labels: suspicions about a photo, stored detections, folds, and injected errors that are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from savo_contracts.geometry import BoundingBox
from savo_datasets.audit.folds import fold_of_samples
from savo_datasets.audit.injected_errors import inject_errors, share_found
from savo_datasets.audit.predictions import photo_key, read_predictions, write_predictions
from savo_datasets.audit.ranking import MARKED, audit_labels
from savo_datasets.audit.suspicions import Detected, ErrorKind, similarity, suspicions
from savo_datasets.errors import DatasetError
from savo_datasets.formats.samples import Sample
from savo_datasets.labels import TruthBox

NAMES = ("apple", "egg", "milk", "tomato")


def box(x: float, y: float = 0.1, size: float = 0.2) -> BoundingBox:
    return BoundingBox(x=x, y=y, width=size, height=size)


def found(label: str, x: float, confidence: float = 0.9, y: float = 0.1) -> Detected:
    return Detected(label, confidence, box(x, y))


def test_labels_that_are_detected_as_they_are_raise_no_suspicion() -> None:
    labels = [TruthBox("egg", box(0.1)), TruthBox("milk", box(0.6))]
    assert suspicions(labels, [found("egg", 0.1), found("milk", 0.6)]) == []
    assert suspicions(labels, []) == [], "a model that finds nothing says nothing"


def test_each_kind_of_error_is_recognised_once() -> None:
    labels = [TruthBox("egg", box(0.1)), TruthBox("milk", box(0.5, 0.12)), TruthBox("apple", box(0.1, 0.6))]
    detections = [
        found("tomato", 0.1),
        found("milk", 0.62),
        found("apple", 0.1, y=0.6),
        found("egg", 0.6, 0.8, y=0.6),
        found("egg", 0.61, 0.4, y=0.6),
    ]
    shown = [(entry.kind, entry.label, entry.suggestion.label) for entry in suspicions(labels, detections)]
    assert sorted(shown, key=str) == [
        (ErrorKind.BADLY_PLACED, "milk", "milk"),
        (ErrorKind.MISSING, None, "egg"),
        (ErrorKind.WRONG_NAME, "egg", "tomato"),
    ]


def test_support_for_the_label_and_a_low_confidence_lower_the_suspicion() -> None:
    labels = [TruthBox("egg", box(0.1))]
    sure, unsure = (suspicions(labels, [found("milk", 0.1, confidence)])[0].score for confidence in (0.9, 0.4))
    both = suspicions(labels, [found("milk", 0.1), found("egg", 0.1, 0.7)])[0].score
    assert (sure, unsure, both) == pytest.approx((0.9, 0.4, 0.27))
    assert similarity(box(0.1), box(0.1)) == pytest.approx(1.0)
    assert similarity(box(0.1), box(0.5)) > similarity(box(0.1), box(0.7)) > 0, "an order without an overlap too"


def test_a_detection_belongs_to_the_nearest_label_of_its_name() -> None:
    labels = [TruthBox("egg", box(0.1)), TruthBox("egg", box(0.25))]
    assert suspicions(labels, [found("egg", 0.1), found("egg", 0.25)]) == []
    (only,) = suspicions(labels, [found("egg", 0.1), found("egg", 0.35)])
    assert (only.kind, only.bbox) == (ErrorKind.BADLY_PLACED, box(0.25))


def test_a_missing_box_beside_boxes_of_its_name_is_no_other_place_of_theirs() -> None:
    labels = [TruthBox("egg", box(0.1)), TruthBox("egg", box(0.35))]
    third = found("egg", 0.4806)
    assert box(0.35).iou(third.bbox) == pytest.approx(0.21, abs=0.001)
    (only,) = suspicions(labels, [found("egg", 0.1), found("egg", 0.35), third])
    assert (only.kind, only.suggestion) == (ErrorKind.MISSING, third)
    assert only.score == pytest.approx(0.9 * 0.79, abs=0.001)


def test_a_photo_of_a_suspicion_has_the_label_and_the_suggestion_marked() -> None:
    sample = Sample("a.jpg", (TruthBox("egg", box(0.1)), TruthBox("milk", box(0.6))))
    detections = [found("tomato", 0.11), found("milk", 0.6), found("egg", 0.1, 0.7, y=0.6)]
    (ranked,) = audit_labels([sample], {"a.jpg": detections}, NAMES).photos_of(9)
    assert [[(mark.bbox, mark.caption, mark.is_suggestion) for mark in doubt.marked] for doubt in ranked.doubts] == [
        [(box(0.1), "egg", False), (box(0.11), "tomato 0.90", True)],
        [(box(0.1, 0.6), "egg 0.70", True)],
    ]


def test_a_picture_marks_only_the_greatest_suspicions_of_its_photo() -> None:
    detections = [found("egg", 0.1 * number, 0.9 - 0.1 * number, y=0.1 * number) for number in range(MARKED + 2)]
    (ranked,) = audit_labels([Sample("a.jpg", ())], {"a.jpg": detections}, NAMES).photos_of(99)
    assert [bool(doubt.marked) for doubt in ranked.doubts] == [True] * MARKED + [False] * 2


def test_stored_detections_are_read_back_and_checked_by_line(tmp_path: Path) -> None:
    path = tmp_path / "detections.jsonl"
    write_predictions(path, {"train/a.jpg": [found("egg", 0.1)], "val/b.jpg": []})
    assert read_predictions([path]) == {"train/a.jpg": [found("egg", 0.1)], "val/b.jpg": []}
    with pytest.raises(DatasetError, match=r"detections.jsonl:1: train/a.jpg has detections already"):
        read_predictions([path, path])
    path.write_text('\n{"photo": "a.jpg", "boxes": [{"label": "egg", "confidence": 2, "bbox": 0}]}\n', encoding="utf-8")
    with pytest.raises(DatasetError, match=r"detections.jsonl:2: boxes\.0\.confidence"):
        read_predictions([path])


def test_a_group_is_in_one_fold_and_folds_are_of_similar_size() -> None:
    samples = [Sample(f"{number}.jpg", (), group=f"person {number % 5}") for number in range(20)]
    samples += [Sample(f"single-{number}.jpg", ()) for number in range(10)]
    folds = fold_of_samples(samples, 3)
    by_group = {sample.group: fold for sample, fold in zip(samples, folds, strict=True) if sample.group}
    assert all(by_group[sample.group] == fold for sample, fold in zip(samples, folds, strict=True) if sample.group)
    assert sorted(folds.count(fold) for fold in range(3)) == [10, 10, 10]


def test_injected_errors_are_ranked_above_right_labels() -> None:
    """With detections of a mediocre model: 85 % of the items found, with noise, and false ones."""
    rng = np.random.default_rng(1)
    clean = [Sample(f"{number}.jpg", _labels(rng)) for number in range(150)]
    injected = inject_errors(clean, NAMES, share=0.05, seed=2)
    predictions = {photo_key(sample): _detections(sample, rng) for sample in clean}
    audited = audit_labels(injected.samples, predictions, NAMES)
    shares = share_found(audited.ranked, injected, top=0.1)
    assert {kind: count for kind, (_, count) in shares.by_kind.items()} == injected.counts()
    assert shares.all > 0.6
    assert all(share > 0.3 for share, _ in shares.by_kind.values())
    (first, *_) = audited.photos_of(1)
    assert first.doubts[0].text.startswith(f"{audited.ranked[0].suspicion.score:.2f} ")


def _labels(rng: np.random.Generator) -> tuple[TruthBox, ...]:
    places = [(x, y) for x in (0.02, 0.35, 0.68) for y in (0.02, 0.35, 0.68)]
    chosen = rng.choice(len(places), 5, replace=False)
    return tuple(TruthBox(str(rng.choice(NAMES)), box(places[place][0], places[place][1], 0.25)) for place in chosen)


def _detections(sample: Sample, rng: np.random.Generator) -> list[Detected]:
    detections = [
        Detected(truth.label, float(rng.uniform(0.3, 0.95)), truth.bbox)
        for truth in sample.boxes
        if rng.random() < 0.85
    ]
    return [*detections, Detected("egg", float(rng.uniform(0.05, 0.3)), box(float(rng.uniform(0, 0.7)), 0.3))]
