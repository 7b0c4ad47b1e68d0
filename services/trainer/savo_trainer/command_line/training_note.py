"""Training note: the JSON file that `savo train` writes beside its weights, for `savo models register`.

It has the hashes of the weights and of the ONNX file, and ultralytics' figures for both.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from savo_contracts.envelope import Message, Sha256
from savo_runtime.storage.digests import file_sha256
from savo_trainer.training.plan import Trained

__all__ = ["TrainingNote", "read_note", "write_note"]


class TrainingNote(Message):
    """Content of the file. Figures are mAP@0.5, 0 to 1; `train_samples` 0: unknown."""

    onnx_sha256: Sha256
    weights_sha256: Sha256
    weights_map50: float | None = None
    export_map50: float | None = None
    train_samples: int = 0


def write_note(trained: Trained, train_samples: int) -> Path:
    """Write the note beside the ONNX file, with the suffix `.json`."""
    note = TrainingNote(
        onnx_sha256=file_sha256(trained.export.onnx),
        weights_sha256=file_sha256(trained.weights),
        weights_map50=trained.weights_map50,
        export_map50=trained.export_map50,
        train_samples=train_samples,
    )
    path = trained.export.onnx.with_suffix(".json")
    path.write_text(note.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path


def read_note(onnx: Path, onnx_sha256: str) -> TrainingNote | None:
    """None when there is no note, or when it describes another file."""
    try:
        note = TrainingNote.model_validate_json(onnx.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None
    return note if note.onnx_sha256 == onnx_sha256 else None
