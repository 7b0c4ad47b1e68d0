"""Average precision at IoU 0.5, and its bootstrap: pure arithmetic on matched detections.

AP is the area under the precision envelope read at 101 recalls, 0 to 1 (COCO's points; linear between the curve's points
and the trapezoid rule, as ultralytics reports it, so that figures can be laid side by side). mAP is the mean over classes
that have at least one true box. The bootstrap draws groups (subjects), not photos: one person's photos resemble each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClassCurve", "ImageRecord", "Ledger", "average_precisions", "group_weights", "mean_of_present"]

_RECALLS = np.linspace(0.0, 1.0, 101)
_ROWS_AT_ONCE = 4_000_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ImageRecord:
    """One photo's detections after matching: all that AP needs, so resampling never looks at boxes again."""

    name: str
    group: str
    labels: tuple[str, ...]
    """Label of each detection, best score first."""
    scores: tuple[float, ...]
    correct: tuple[bool, ...]
    """Whether the detection took a true box of its label at IoU 0.5."""
    truth: dict[str, int]
    """True boxes by label."""


@dataclass(frozen=True)
class ClassCurve:
    """All detections of one class over all photos, best score first."""

    images: NDArray[np.intp]
    correct: NDArray[np.bool_]
    truth: NDArray[np.int64]
    """True boxes of the class in each photo."""


@dataclass(frozen=True)
class Ledger:
    """Records by class, in one order of photos."""

    labels: tuple[str, ...]
    curves: tuple[ClassCurve, ...]
    images: int

    @classmethod
    def of(cls, records: Sequence[ImageRecord]) -> Ledger:
        labels = tuple(sorted({label for record in records for label, count in record.truth.items() if count}))
        return cls(labels, tuple(_curve(records, label) for label in labels), len(records))

    def precisions(self, weights: NDArray[np.int64]) -> Floats:
        """AP of each class under each row of weights (draws × photos): draws × classes, NaN where a draw holds no true box of the class."""
        if not self.curves:
            return np.empty((len(weights), 0))
        return np.stack([average_precisions(curve, weights) for curve in self.curves], axis=1)


def average_precisions(curve: ClassCurve, weights: NDArray[np.int64]) -> Floats:
    """AP under each row of weights. A photo drawn k times counts k times."""
    truth = (weights @ curve.truth).astype(np.float64)
    chunk = max(1, _ROWS_AT_ONCE // max(1, len(curve.images)))
    parts = [
        _chunk_precisions(curve, weights[at : at + chunk], truth[at : at + chunk])
        for at in range(0, len(weights), chunk)
    ]
    return np.concatenate(parts)


def _chunk_precisions(curve: ClassCurve, weights: NDArray[np.int64], truth: Floats) -> Floats:
    drawn = weights[:, curve.images]
    seen = np.cumsum(drawn, axis=1)
    right = np.cumsum(drawn * curve.correct, axis=1)
    recall = right / np.maximum(truth, 1)[:, None]
    precision = np.divide(right, seen, out=np.ones(right.shape), where=seen > 0)
    areas = [_area(recall[row], precision[row]) if truth[row] else np.nan for row in range(len(truth))]
    return np.asarray(areas, np.float64)


def _area(recall: Floats, precision: Floats) -> float:
    if not recall.size:
        return 0.0
    recalls = np.concatenate(([0.0], recall, [recall[-1], 1.0]))
    envelope = np.maximum.accumulate(np.concatenate(([1.0], precision, [0.0, 0.0]))[::-1])[::-1]
    return float(np.trapezoid(np.interp(_RECALLS, recalls, envelope), _RECALLS))


def mean_of_present(precisions: Floats) -> Floats:
    """mAP of each draw: the mean over classes that it holds, 0 when it holds none."""
    present = ~np.isnan(precisions)
    means: Floats = np.nansum(precisions, axis=1) / np.maximum(present.sum(axis=1), 1)
    return means


def group_weights(groups: Sequence[str], draws: int, seed: int) -> NDArray[np.int64]:
    """How often each photo is drawn (draws × photos) when whole groups are drawn with replacement."""
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
    images, correct = (
        np.asarray([index for _, index, _ in rows], np.intp),
        np.asarray([hit for _, _, hit in rows], np.bool_),
    )
    return ClassCurve(
        images[order], correct[order], np.asarray([record.truth.get(label, 0) for record in records], np.int64)
    )
