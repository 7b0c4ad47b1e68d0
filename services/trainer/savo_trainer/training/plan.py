"""What to train, and from what: settings and the champion turned into one plan for one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

__all__ = ["Export", "Start", "TrainPlan", "TrainPolicy", "Trained", "may_start_from", "plan_for"]


@dataclass(frozen=True)
class TrainPolicy:
    """The operator's recipe."""

    model: str = "yolov8n.yaml"
    epochs: int = 100
    batch: int = 16
    image_size: int = 640
    device: str = "auto"
    width: float | None = None
    """Width multiple in place of the architecture's own: a smaller network for a smaller task."""
    warm_start: bool = True
    warm_epochs: int | None = None
    """Epochs when training goes on from the champion's weights; None: as many as from scratch."""
    seed: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Overrides of ultralytics' training arguments."""


@dataclass(frozen=True)
class Start:
    """A registered model whose weights we wrote ourselves."""

    version: str
    classes: tuple[str, ...]
    weights: Path


@dataclass(frozen=True)
class TrainPlan:
    """One run's recipe, everything decided."""

    model: str
    epochs: int
    batch: int
    image_size: int
    device: str
    width: float | None
    seed: int
    extra: Mapping[str, Any]
    start: Start | None = None


@dataclass(frozen=True)
class Export:
    """A model's ONNX files."""

    onnx: Path
    """What is measured and served."""
    plain: Path | None = None
    """The export that `onnx` was made from by optimising its graph; None where `onnx` is that export."""
    not_optimized: str | None = None
    """Why `onnx` is the export as it was written."""


@dataclass(frozen=True)
class Trained:
    """What a runner brings back: files in the run's folder and what ultralytics measured on them."""

    weights: Path
    export: Export
    weights_map50: float | None
    """mAP@0.5 of the .pt on the holdout, 0…1, by ultralytics' validator; None when it was not asked."""
    export_map50: float | None
    """The same for the ONNX."""
    seconds: float


def plan_for(policy: TrainPolicy, classes: Sequence[str], champion: Start | None) -> TrainPlan:
    """From the champion's weights where that is allowed, else from scratch."""
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
    """Fine-tuning keeps what the champion knows only if every class it knows is still taught."""
    return policy.warm_start and set(champion_classes) <= set(classes)
