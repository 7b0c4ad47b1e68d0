"""Average precision at IoU 0.5 and its bootstrap, computed from matched detections.

AP is the area under the precision envelope at COCO's 101 recalls from 0 to 1. As in ultralytics the envelope is linear
between the curve's points and is integrated by the trapezoid rule, so the figures are comparable. mAP is the mean over
the classes with at least one true box. The bootstrap resamples groups (subjects) instead of photos, because a person's
photos resemble each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClassCurve", "ClassCurves", "ImageRecord", "average_precisions", "group_weights", "mean_of_present"]

_RECALLS = np.linspace(0.0, 1.0, 101)
_ROWS_AT_ONCE = 4_000_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ImageRecord:
    """A photo's detections after matching with its true boxes."""

    name: str
    group: str
    labels: tuple[str, ...]
    """Label of each detection, best score first."""
    scores: tuple[float, ...]
    correct: tuple[bool, ...]
    """Whether the detection was matched with a true box of its label."""
    truth: dict[str, int]
    """True boxes by label."""


@dataclass(frozen=True)
class ClassCurve:
    """All detections of a class, highest score first."""

    images: NDArray[np.intp]
    """Index of each detection's photo."""
    correct: NDArray[np.bool_]
    truth: NDArray[np.int64]
    """True boxes of the class in each photo."""


@dataclass(frozen=True)
class ClassCurves:
    """The records of photos, arranged by class."""

    labels: tuple[str, ...]
    """Classes with at least one true box."""
    curves: tuple[ClassCurve, ...]
    images: int

    @classmethod
    def of(cls, records: Sequence[ImageRecord]) -> ClassCurves:
        labels = tuple(sorted({label for record in records for label, count in record.truth.items() if count}))
        return cls(labels, tuple(_curve(records, label) for label in labels), len(records))

    def precisions(self, weights: NDArray[np.int64]) -> Floats:
        """AP of each class in each bootstrap sample: samples × classes, NaN where a sample has no such true box.

        `weights`: how often each photo is in each sample, samples × photos.
        """
        if not self.curves:
            return np.empty((len(weights), 0))
        return np.stack([average_precisions(curve, weights) for curve in self.curves], axis=1)


def average_precisions(curve: ClassCurve, weights: NDArray[np.int64]) -> Floats:
    """AP in each bootstrap sample, given how often each photo is in it (samples × photos)."""
    truth = (weights @ curve.truth).astype(np.float64)
    chunk = max(1, _ROWS_AT_ONCE // max(1, len(curve.images)))
    parts = [
        _chunk_precisions(curve, weights[at : at + chunk], truth[at : at + chunk])
        for at in range(0, len(weights), chunk)
    ]
    return np.concatenate(parts)


def _chunk_precisions(curve: ClassCurve, weights: NDArray[np.int64], truth: Floats) -> Floats:
    counts = weights[:, curve.images]
    positives = np.cumsum(counts, axis=1)
    true_positives = np.cumsum(counts * curve.correct, axis=1)
    recall = true_positives / np.maximum(truth, 1)[:, None]
    precision = np.divide(true_positives, positives, out=np.ones(true_positives.shape), where=positives > 0)
    areas = [_area(recall[row], precision[row]) if truth[row] else np.nan for row in range(len(truth))]
    return np.asarray(areas, np.float64)


def _area(recall: Floats, precision: Floats) -> float:
    if not recall.size:
        return 0.0
    recalls = np.concatenate(([0.0], recall, [recall[-1], 1.0]))
    envelope = np.maximum.accumulate(np.concatenate(([1.0], precision, [0.0, 0.0]))[::-1])[::-1]
    return float(np.trapezoid(np.interp(_RECALLS, recalls, envelope), _RECALLS))


def mean_of_present(precisions: Floats) -> Floats:
    """mAP of each bootstrap sample: the mean over the classes in it, 0 without any."""
    present = ~np.isnan(precisions)
    means: Floats = np.nansum(precisions, axis=1) / np.maximum(present.sum(axis=1), 1)
    return means


def group_weights(groups: Sequence[str], draws: int, seed: int) -> NDArray[np.int64]:
    """How often each photo is in each of `draws` bootstrap samples of groups: draws × photos."""
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    weights: NDArray[np.int64] = counts[:, member].astype(np.int64)
    return weights


def _curve(records: Sequence[ImageRecord], label: str) -> ClassCurve:
    rows = [
        (score, index, correct)
        for index, record in enumerate(records)
        for found, score, correct in zip(record.labels, record.scores, record.correct, strict=True)
        if found == label
    ]
    order = np.argsort([-score for score, _, _ in rows], kind="stable")
    images = np.asarray([index for _, index, _ in rows], np.intp)
    correct = np.asarray([hit for _, _, hit in rows], np.bool_)
    truth = np.asarray([record.truth.get(label, 0) for record in records], np.int64)
    return ClassCurve(images[order], correct[order], truth)
