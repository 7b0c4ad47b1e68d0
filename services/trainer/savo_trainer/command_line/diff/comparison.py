"""Use case of `savo models diff`: loads models and photos, compares them, and writes the output folder."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from savo_datasets.errors import DatasetError
from savo_detection.detector import Detector
from savo_detection.errors import ModelRefusedError
from savo_runtime.storage.port import ObjectStore
from savo_runtime.storage.registered_models import stored_model
from savo_trainer.command_line.diff.measurement import Differences, measure_differences
from savo_trainer.command_line.diff.page import draw_pictures, write_page
from savo_trainer.command_line.diff.photo_comparison import ComparedModel
from savo_trainer.command_line.diff.photos import PhotoSet, newest_holdout, photos_of

__all__ = ["DiffRequest", "compare_models"]

LINES_FILE = "differences.jsonl"

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class DiffRequest:
    """Arguments of the command."""

    before: str
    after: str
    data: Path | None
    """None: the newest holdout of the object store."""
    split: str
    output: Path
    pictures: int = 24


async def compare_models(request: DiffRequest, store: ObjectStore, on_progress: OnProgress) -> dict[str, Any]:
    """Write the page, pictures and lines to the output folder and return the summary, as `--json` prints it.

    Raises `DatasetError`, `ModelRefusedError`, `UnknownModelError`.
    """
    started = time.monotonic()
    before, after = await _compared_model(request.before, store), await _compared_model(request.after, store)
    with tempfile.TemporaryDirectory(prefix="savo-holdout-") as folder:
        photos = photos_of(request.data, request.split) if request.data else await newest_holdout(store, Path(folder))
        _prepare_output(request.output)
        differences, drawn = await asyncio.to_thread(_compare, request, photos, before, after, on_progress)
    page = request.output / "index.html"
    summary = differences.summary | {
        "output": str(request.output),
        "page": str(page),
        "pictures": len(drawn),
        "seconds": round(time.monotonic() - started, 1),
    }
    write_page(page, summary, drawn)
    (request.output / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False), encoding="utf-8")
    return summary


def _compare(
    request: DiffRequest, photos: PhotoSet, before: ComparedModel, after: ComparedModel, on_progress: OnProgress
) -> tuple[Differences, list[Any]]:
    with (request.output / LINES_FILE).open("w", encoding="utf-8") as lines:
        differences = measure_differences(
            photos, before, after, lines, pictures=request.pictures, on_progress=on_progress
        )
    return differences, draw_pictures(differences, request.output)


async def _compared_model(name: str, store: ObjectStore) -> ComparedModel:
    stored = await stored_model(name, store)
    try:
        if stored is not None:
            report = stored.report
            detector = await asyncio.to_thread(
                Detector.load, stored.onnx, expected_sha256=report.onnx_sha256, expected_classes=report.classes
            )
            return ComparedModel(stored.version, detector)
        detector = await asyncio.to_thread(Detector.load, _file(name))
    except ModelRefusedError as error:
        raise DatasetError(f"{name} cannot be used: {error}") from error
    return ComparedModel(f"{Path(name).stem}-{detector.version_info.sha256[:8]}", detector)


def _file(name: str) -> Path:
    if not Path(name).is_file():
        raise DatasetError(
            f"{name} is not a model: give a version such as v3, champion or challenger, or the path of an ONNX file"
        )
    return Path(name)


def _prepare_output(output: Path) -> None:
    """Create the folder, or clear an earlier comparison. Raises `DatasetError` for a folder with other files."""
    if output.exists() and any(output.iterdir()) and not (output / LINES_FILE).exists():
        raise DatasetError(f"{output} has files that are not of a comparison: give another --output")
    shutil.rmtree(output / "pictures", ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
