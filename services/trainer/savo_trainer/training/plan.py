"""Training plan of a run: the operator's recipe, and the weights to start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

__all__ = ["Export", "StartWeights", "TrainPlan", "TrainPolicy", "Trained", "may_start_from", "plan_for"]


@dataclass(frozen=True)
class TrainPolicy:
    """The operator's recipe: the settings `SAVO_TRAIN_*`."""

    model: str = "yolov8n.yaml"
    epochs: int = 100
    batch: int = 16
    image_size: int = 640
    device: str = "auto"
    width: float | None = None
    """Width multiple instead of the architecture's own: a smaller network for a smaller task."""
    warm_start: bool = True
    warm_epochs: int | None = None
    """Epochs when training starts from the champion's weights; None: `epochs`."""
    seed: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Overrides for ultralytics' training arguments."""


@dataclass(frozen=True)
class StartWeights:
    """A registered model to start from. The trainer itself wrote its weights."""

    version: str
    classes: tuple[str, ...]
    weights: Path


@dataclass(frozen=True)
class TrainPlan:
    """Complete recipe of one run."""

    model: str
    epochs: int
    batch: int
    image_size: int
    device: str
    width: float | None
    seed: int
    extra: Mapping[str, Any]
    start: StartWeights | None = None


@dataclass(frozen=True)
class Export:
    """A model's ONNX files."""

    onnx: Path
    """The file that is measured and served."""
    plain: Path | None = None
    """The export before its graph was optimised; None: `onnx` is that export."""
    not_optimized: str | None = None
    """Why the graph is not optimised; None: it is."""


@dataclass(frozen=True)
class Trained:
    """Result of a training: files in the run's folder, and ultralytics' figures for them."""

    weights: Path
    export: Export
    weights_map50: float | None
    """mAP@0.5 of the .pt on the holdout, 0 to 1, by ultralytics' validator; None: not measured."""
    export_map50: float | None
    """The same for the ONNX file."""
    seconds: float


def plan_for(policy: TrainPolicy, classes: Sequence[str], champion: StartWeights | None) -> TrainPlan:
    """Start from the champion's weights where the policy allows it, else from scratch."""
    scratch = TrainPlan(
        policy.model,
        policy.epochs,
        policy.batch,
        policy.image_size,
        policy.device,
        policy.width,
        policy.seed,
        policy.extra,
    )
    if champion and may_start_from(policy, champion.classes, classes):
        return replace(scratch, start=champion, epochs=policy.warm_epochs or policy.epochs)
    return scratch


def may_start_from(policy: TrainPolicy, champion_classes: Sequence[str], classes: Sequence[str]) -> bool:
    """Fine-tuning preserves a class of the champion only if the data set still has it, so all are required."""
    return policy.warm_start and set(champion_classes) <= set(classes)
