"""Candidate for registration: the ONNX file to serve, optimised where possible, and its plain export if present."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from savo_detection.detector import Detector, onnx_path, plain_export_path
from savo_detection.errors import ModelRefusedError
from savo_detection.model_optimization import optimize
from savo_runtime.command_line.output import CommandError
from savo_runtime.storage.digests import file_sha256
from savo_trainer.models.registry import optimization_sentence

__all__ = ["Candidate", "prepare_candidate"]

CAME_OPTIMIZED = "It came optimised, without the export that it was made from."


@dataclass(frozen=True)
class Candidate:
    """A model file that is ready to be measured and registered."""

    given: Path
    """The ONNX file that the operator named."""
    onnx: Path
    """The file that is measured and served."""
    plain: Path | None
    """The export before its graph was optimised; None: `onnx` is that export, or the export is missing."""
    optimization: str
    """Sentence for the model card."""
    detector: Detector
    """The loaded `onnx`."""

    @property
    def weights(self) -> Path:
        return self.given.with_suffix(".pt")

    @property
    def hashes(self) -> tuple[str, ...]:
        """sha256 of the plain export, the given file and the file to serve. The model may be registered under any."""
        facts = self.detector.version_info
        return tuple(dict.fromkeys(filter(None, (facts.plain_sha256, file_sha256(self.given), facts.sha256))))


def prepare_candidate(model: Path, folder: Path) -> Candidate:
    """Load and check the model, and optimise its graph. An optimised file is written to `folder`.

    The given file does not change. Raises `CommandError` for a file that cannot be registered.
    """
    try:
        given = onnx_path(model)
        detector = Detector.load(given)
        _check_square(model, detector)
        optimized = optimize(given.read_bytes())
        if optimized.plain_sha256 is None:
            return Candidate(given, given, None, optimization_sentence(optimized.reason), detector)
        if optimized.plain_sha256 == detector.version_info.plain_sha256:  # optimised before
            plain = _plain_beside(given, optimized.plain_sha256)
            return Candidate(given, given, plain, optimization_sentence(None) if plain else CAME_OPTIMIZED, detector)
        onnx = folder / "model.onnx"
        onnx.write_bytes(optimized.data)
        return Candidate(given, onnx, given, optimization_sentence(None), Detector.load(onnx))
    except ModelRefusedError as error:
        raise CommandError(f"{model}: {error}") from error


def _check_square(model: Path, detector: Detector) -> None:
    height, width = detector.image_size
    if height != width:
        found = f"its input is {width} × {height} pixels"
        raise CommandError(f"{model}: {found} and must be square: export it again with a single value of imgsz")


def _plain_beside(onnx: Path, sha256: str) -> Path | None:
    plain = plain_export_path(onnx)
    return plain if plain.is_file() and file_sha256(plain) == sha256 else None
