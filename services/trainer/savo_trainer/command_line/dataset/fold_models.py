"""Models of an audit: each fold of a data set is judged by a model that was trained on the other folds."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from savo_datasets.audit.folds import fold_of_samples
from savo_datasets.audit.predictions import photo_key
from savo_datasets.audit.suspicions import Detected
from savo_datasets.errors import DatasetError
from savo_datasets.formats.samples import Sample
from savo_datasets.labels import format_labels
from savo_datasets.yolo_writer import place_photo, write_data_yaml
from savo_detection.detector import Detector
from savo_detection.errors import ModelRefusedError, PhotoError
from savo_runtime.command_line.output import CommandError
from savo_runtime.command_line.progress import progress_bar
from savo_trainer.adapters.local_runner import LocalRunner
from savo_trainer.command_line.terminal import err, print_line
from savo_trainer.runs.run import Progress
from savo_trainer.training.plan import TrainPlan

__all__ = ["FoldTraining", "detect_by_folds", "train_folds"]

CONFIDENCE = 0.01
"""Lowest confidence of the detections that judge labels."""


@dataclass(frozen=True)
class FoldTraining:
    """How the model of each fold is trained."""

    architecture: str
    epochs: int
    image_size: int
    device: str = "auto"
    batch: int = 16
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further training arguments of ultralytics."""


def train_folds(
    samples: Sequence[Sample], classes: Sequence[str], folds: int, training: FoldTraining, folder: Path
) -> list[Path]:
    """Train a model for each fold on all other folds: the ONNX files, in the order of the folds.

    Raises `DatasetError` when there are fewer groups than folds.
    """
    fold_of = fold_of_samples(samples, folds)
    if len(set(fold_of)) < folds:
        raise DatasetError(f"the photos are of fewer than {folds} groups: give fewer --folds, or --model")
    models = []
    for fold in range(folds):
        print_line(f"fold {fold + 1} of {folds}: training on the other folds", console=err)
        others = [sample for sample, own in zip(samples, fold_of, strict=True) if own != fold]
        models.append(_train(others, classes, training, folder / f"fold-{fold + 1}"))
    return models


def detect_by_folds(samples: Sequence[Sample], models: Sequence[Path]) -> dict[str, list[Detected]]:
    """Detections of each readable photo, by `photo_key`, from the model of its fold.

    Folds are those of `train_folds` with as many models. Raises `CommandError` for a file that is no model.
    """
    fold_of = fold_of_samples(samples, len(models))
    detectors = [_load(model) for model in models]
    found: dict[str, list[Detected]] = {}
    with progress_bar("photos") as on_progress:
        for number, (sample, fold) in enumerate(zip(samples, fold_of, strict=True)):
            if (boxes := _detect(detectors[fold], sample)) is not None:
                found[photo_key(sample)] = boxes
            on_progress(number + 1, len(samples))
    return found


def _train(samples: Sequence[Sample], classes: Sequence[str], training: FoldTraining, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for sample in samples:
        if sample.path:
            place_photo(sample.path, format_labels(sample.boxes, classes), "train", folder, link=True)
    data = write_data_yaml(folder / "data.yaml", classes, present=["train"])
    path = Path(training.architecture)
    architecture = str(path.resolve()) if path.is_file() else training.architecture
    plan = TrainPlan(
        architecture, training.epochs, training.batch, training.image_size, training.device, None, 0, training.extra
    )
    return asyncio.run(LocalRunner().train(plan, data, folder / "job", _report, holdout="val")).export.onnx


async def _report(progress: Progress) -> None:
    print_line(f"epoch {progress.epoch} of {progress.epochs}", console=err)


def _load(model: Path) -> Detector:
    try:
        return Detector.load(model)
    except ModelRefusedError as error:
        raise CommandError(f"{model}: {error}") from error


def _detect(detector: Detector, sample: Sample) -> list[Detected] | None:
    if sample.path is None:
        return None
    try:
        boxes = detector.detect(sample.path.read_bytes(), CONFIDENCE)
    except (PhotoError, OSError):
        return None
    return [Detected(box.label, box.confidence, box.bbox) for box in boxes]
