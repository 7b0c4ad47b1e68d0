"""The model of a replay: a registered version, an alias, or an ONNX file."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from savo_detection.detector import Detector
from savo_detection.errors import ModelRefusedError
from savo_runtime.command_line.output import CommandError
from savo_runtime.storage.port import ObjectStore
from savo_runtime.storage.registered_models import UnknownModelError, stored_model

__all__ = ["PinnedModel", "load_pinned_model"]


@dataclass(frozen=True)
class PinnedModel:
    """A loaded model and its version, or the name of its file with the start of its sha256."""

    version: str
    detector: Detector

    @property
    def sha256(self) -> str:
        return self.detector.version_info.sha256


async def load_pinned_model(name: str, store: ObjectStore) -> PinnedModel:
    """Load `v3`, `champion`, `models:/ingredients@challenger`, or the path of an ONNX file. Raises `CommandError`."""
    try:
        stored = await stored_model(name, store)
        if stored is None:
            detector = await asyncio.to_thread(Detector.load, _file(name))
            return PinnedModel(f"{Path(name).stem}-{detector.version_info.sha256[:8]}", detector)
        report = stored.report
        detector = await asyncio.to_thread(
            Detector.load, stored.onnx, expected_sha256=report.onnx_sha256, expected_classes=report.classes
        )
        return PinnedModel(stored.version, detector)
    except ModelRefusedError as error:
        raise CommandError(f"{name} cannot be used: {error}") from error
    except UnknownModelError as error:
        raise CommandError(str(error)) from error


def _file(name: str) -> Path:
    if not Path(name).is_file():
        raise CommandError(
            f"no model {name}: give a version such as v3, champion or challenger, or the path of an ONNX file"
        )
    return Path(name)
