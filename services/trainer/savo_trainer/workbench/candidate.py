"""A model file as it will be registered: optimised where that can be done, with its plain export where that is here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from savo_datasets.errors import DatasetError
from savo_detection.errors import ModelRefusedError
from savo_detection.model import Detector, onnx_path, plain_export_path
from savo_detection.model_optimization import optimize
from savo_runtime.storage.digests import file_sha256
from savo_trainer.models.registry import optimization_sentence

__all__ = ["Candidate", "prepare_candidate"]

CAME_OPTIMIZED = "It came optimised, without the export that it was made from."


@dataclass(frozen=True)
class Candidate:
    given: Path
    """The ONNX file that the operator named."""
    onnx: Path
    """What is measured and served."""
    plain: Path | None
    """The export that `onnx` was made from; None where `onnx` is that export, or the export is not here."""
    optimization: str
    """A sentence for the card."""
    detector: Detector
    """Of `onnx`."""

    @property
    def weights(self) -> Path:
        return self.given.with_suffix(".pt")

    @property
    def hashes(self) -> tuple[str, ...]:
        """sha256 of the plain export, the file given and the one to serve: the model may be known by each of them."""
        facts = self.detector.version_info
        return tuple(dict.fromkeys(filter(None, (facts.plain_sha256, file_sha256(self.given), facts.sha256))))


def prepare_candidate(model: Path, folder: Path) -> Candidate:
    """An optimised file is written into `folder`; the file given stays as it is.

    Raises `DatasetError` for what is no model to register.
    """
    try:
        given = onnx_path(model)
        detector = Detector.load(given)
        _check_square(model, detector)
        made = optimize(given.read_bytes())
        if made.plain_sha256 is None:
            return Candidate(given, given, None, optimization_sentence(made.reason), detector)
        if made.plain_sha256 == detector.version_info.plain_sha256:  # it was optimised before, by `savo train` perhaps
            plain = _plain_beside(given, made.plain_sha256)
            return Candidate(given, given, plain, optimization_sentence(None) if plain else CAME_OPTIMIZED, detector)
        onnx = folder / "model.onnx"
        onnx.write_bytes(made.data)
        return Candidate(given, onnx, given, optimization_sentence(None), Detector.load(onnx))
    except ModelRefusedError as error:
        raise DatasetError(f"{model}: {error}") from error


def _check_square(model: Path, detector: Detector) -> None:
    height, width = detector.image_size
    if height != width:
        found = f"its input is {width} × {height} pixels"
        raise DatasetError(f"{model}: {found}; a square one is wanted: export it again with one imgsz")


def _plain_beside(onnx: Path, sha256: str) -> Path | None:
    plain = plain_export_path(onnx)
    return plain if plain.is_file() and file_sha256(plain) == sha256 else None
