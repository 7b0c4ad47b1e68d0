"""Job of the training program: job.json, as the trainer writes it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Job", "read_job"]


@dataclass(frozen=True)
class Job:
    folder: str
    """Folder for all files of the run; weights are written to <folder>/<name>/weights."""
    name: str
    data: str
    """Path of the data set's data.yaml."""
    model: str
    """Architecture (yolov8n.yaml) or local weights (.pt)."""
    epochs: int
    batch: int
    image_size: int
    device: str
    """`auto`, `cpu`, `mps`, or a CUDA index such as `0`."""
    weights: str | None = None
    """Weights to start from, for a warm start."""
    width: float | None = None
    """Width multiple instead of the architecture's own."""
    threads: int = 1
    seed: int = 0
    holdout: str = "test"
    export_weights: str | None = None
    """Weights to export, when another run made them."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Overrides for ultralytics' training arguments."""

    @property
    def best(self) -> Path:
        own = Path(self.folder) / self.name / "weights" / "best.pt"
        return Path(self.export_weights) if self.export_weights else own

    @property
    def onnx(self) -> Path:
        return self.best.with_suffix(".onnx")


def read_job(path: Path) -> Job:
    return Job(**json.loads(path.read_text(encoding="utf-8")))
