"""Evaluation of models on the holdout through the serving code, and the paired comparison with the champion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from savo_contracts.documents import GoldenBox, GoldenPicture, ManifestLine
from savo_contracts.training import Comparison, Evaluation
from savo_datasets.labels import truth_boxes
from savo_datasets.yolo_folder import split_photos
from savo_detection.detector import DetectedBox, Detector
from savo_detection.evaluation.evaluator import EvaluationResult, EvaluationSample, ImageRecord, compare, evaluate
from savo_detection.evaluation.golden_pictures import GoldenPictureRecorder, RecordedPicture
from savo_trainer.models.gate import ClassChange
from savo_trainer.training.dataset import image_path, labels_path

__all__ = ["Measurement", "compare_with_champion", "golden_pictures", "holdout_samples", "measure", "split_samples"]


@dataclass(frozen=True)
class Measurement:
    """Result of evaluating one model."""

    evaluation: Evaluation
    records: tuple[ImageRecord, ...]
    """Matched detections of each photo, for the paired comparison."""
    golden: tuple[RecordedPicture, ...] = ()
    """Photos with the boxes that a serving replica must reproduce."""


def measure(onnx: Path, holdout: Iterable[EvaluationSample], *, seed: int = 0) -> Measurement:
    """Evaluate an ONNX file. Slow: run it in a thread.

    Raises `ModelRefusedError`, and `ValueError` for a holdout without boxes.
    """
    detector = GoldenPictureRecorder(Detector.load(onnx))
    result = evaluate(detector, holdout, seed=seed)
    return Measurement(as_evaluation(result), result.records, detector.pictures())


def golden_pictures(measured: Measurement, holdout: Iterable[ManifestLine]) -> tuple[GoldenPicture, ...]:
    """Golden pictures with the keys of their photos in the object store."""
    wanted = {golden.sha256 for golden in measured.golden}
    keys = {line.sha256: line.image_key for line in holdout if line.sha256 in wanted}
    return tuple(
        GoldenPicture(sha256=golden.sha256, image_key=keys[golden.sha256], boxes=tuple(map(_golden_box, golden.boxes)))
        for golden in measured.golden
        if golden.sha256 in keys
    )


def as_evaluation(result: EvaluationResult) -> Evaluation:
    return Evaluation(
        map50=_fraction(result.map50),
        map50_lower=_fraction(result.lower),
        map50_upper=_fraction(result.upper),
        images=result.images,
        boxes=result.boxes,
        per_class={label: round(ap, 4) for label, ap in result.per_class.items()},
    )


def compare_with_champion(
    candidate: Measurement, champion: Measurement, champion_version: str, allowed_drop: float
) -> tuple[Comparison, dict[str, ClassChange]]:
    """Paired comparison on the same bootstrap draws of subjects.

    A class's p-value is small when the class lost significantly more than `allowed_drop`, a fraction of AP.
    """
    gain = compare(candidate.records, champion.records)
    comparison = Comparison(
        champion=champion_version,
        champion_map50=champion.evaluation.map50,
        gain=gain.gain,
        gain_lower=gain.lower,
        gain_upper=gain.upper,
    )
    classes = {
        label: ClassChange(change.gain, change.boxes, change.chance_above(-allowed_drop))
        for label, change in gain.per_class.items()
    }
    return comparison, classes


def holdout_samples(lines: Iterable[ManifestLine], names: Sequence[str], folder: Path) -> Iterator[EvaluationSample]:
    """Holdout photos with their labels, as `download_dataset` wrote them, one at a time."""
    for line in lines:
        truth = truth_boxes(labels_path(line, folder).read_text(encoding="utf-8"), names)
        yield EvaluationSample(image_path(line, folder).read_bytes(), truth, line.subject, line.sha256)


def split_samples(data: Mapping[str, Any], split: str) -> Iterator[EvaluationSample]:
    """Photos of one split of a `dataset.yaml` with their labels, one at a time. Raises `DatasetError`."""
    for photo in split_photos(data, split):
        yield EvaluationSample(photo.path.read_bytes(), photo.truth, photo.group, photo.path.name)


def _golden_box(box: DetectedBox) -> GoldenBox:
    return GoldenBox(label=box.label, confidence=round(box.confidence, 4), bbox=box.bbox)


def _fraction(value: float) -> float:
    return min(1.0, max(0.0, value))
