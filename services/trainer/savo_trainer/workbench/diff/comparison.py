"""The whole of `savo models diff`: which models, on which photos, and where the answer lies."""

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
from savo_detection.errors import ModelRefusedError
from savo_detection.model import Detector
from savo_runtime.storage.models import stored_model
from savo_runtime.storage.port import ObjectStore
from savo_trainer.workbench.diff.measurement import Differences, measure_differences
from savo_trainer.workbench.diff.page import draw_pictures, write_page
from savo_trainer.workbench.diff.photo_comparison import ComparedModel
from savo_trainer.workbench.diff.photos import PhotoSet, newest_holdout, photos_of

__all__ = ["DiffRequest", "compare_models"]

LINES = "differences.jsonl"

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class DiffRequest:
    """What was asked for."""

    before: str
    after: str
    data: Path | None
    """None: the newest holdout of the object store."""
    split: str
    output: Path
    pictures: int = 24


async def compare_models(order: DiffRequest, store: ObjectStore, on_progress: OnProgress) -> dict[str, Any]:
    """The summary, as `--json` prints it. Raises `DatasetError`, `ModelRefusedError`, `UnknownModelError`."""
    began = time.monotonic()
    before, after = await _compared_model(order.before, store), await _compared_model(order.after, store)
    with tempfile.TemporaryDirectory(prefix="savo-holdout-") as fetched:
        photos = photos_of(order.data, order.split) if order.data else await newest_holdout(store, Path(fetched))
        _prepare_output(order.output)
        found, drawn = await asyncio.to_thread(_compare, order, photos, before, after, on_progress)
    page = order.output / "index.html"
    summary = found.summary | {
        "output": str(order.output),
        "page": str(page),
        "pictures": len(drawn),
        "seconds": round(time.monotonic() - began, 1),
    }
    write_page(page, summary, drawn)
    (order.output / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False), encoding="utf-8")
    return summary


def _compare(
    order: DiffRequest, photos: PhotoSet, before: ComparedModel, after: ComparedModel, on_progress: OnProgress
) -> tuple[Differences, list[Any]]:
    with (order.output / LINES).open("w", encoding="utf-8") as lines:
        found = measure_differences(photos, before, after, lines, pictures=order.pictures, on_progress=on_progress)
    return found, draw_pictures(found, order.output)


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
    except ModelRefusedError as flaw:
        raise DatasetError(f"{name} is not used: {flaw}") from flaw
    return ComparedModel(f"{Path(name).stem}-{detector.version_info.sha256[:8]}", detector)


def _file(name: str) -> Path:
    if not Path(name).is_file():
        raise DatasetError(
            f"{name} is no model: give a version such as v3, champion or challenger, or the path of an ONNX file"
        )
    return Path(name)


def _prepare_output(output: Path) -> None:
    """What an earlier comparison wrote is replaced; anything else is left alone. Raises `DatasetError`."""
    if output.exists() and any(output.iterdir()) and not (output / LINES).exists():
        raise DatasetError(f"{output} holds something else than a comparison: give another --output")
    shutil.rmtree(output / "pictures", ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
