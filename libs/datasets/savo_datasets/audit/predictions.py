"""Stored detections: a JSON line for each photo.

    {"photo": "train/IMG_1.jpg", "boxes": [{"label": "egg", "confidence": 0.9, "bbox": {"x": …, "y": …, …}}]}

`photo` is the photo's split and file name, or its file name where the data set has no splits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from savo_contracts.geometry import BoundingBox, Fraction
from savo_datasets.audit.suspicions import Detected
from savo_datasets.errors import DatasetError
from savo_datasets.formats.samples import Sample

__all__ = ["photo_key", "read_predictions", "write_predictions"]


def photo_key(sample: Sample) -> str:
    """The sample's `photo` in a file of detections."""
    return f"{sample.split}/{sample.name}" if sample.split else sample.name


class _Box(BaseModel):
    model_config = ConfigDict(extra="ignore")

    label: str = Field(min_length=1)
    confidence: Fraction
    bbox: BoundingBox


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore")

    photo: str = Field(min_length=1)
    boxes: list[_Box]


def read_predictions(paths: Iterable[Path]) -> dict[str, list[Detected]]:
    """Detections by the photo's name. A photo may be in one file only. Raises `DatasetError` with file and line."""
    found: dict[str, list[Detected]] = {}
    for path in paths:
        for number, line in enumerate(_lines(path), start=1):
            if not line.strip():
                continue
            photo, boxes = _parsed(line, f"{path}:{number}")
            if photo in found:
                raise DatasetError(f"{path}:{number}: {photo} has detections already; each photo is in one fold")
            found[photo] = boxes
    return found


def write_predictions(path: Path, predictions: Mapping[str, Sequence[Detected]]) -> None:
    """Write a line for each photo."""
    with path.open("w", encoding="utf-8") as file:
        for photo, boxes in predictions.items():
            rows = [
                {"label": box.label, "confidence": round(box.confidence, 4), "bbox": box.bbox.model_dump()}
                for box in boxes
            ]
            file.write(json.dumps({"photo": photo, "boxes": rows}, ensure_ascii=False) + "\n")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error


def _parsed(line: str, place: str) -> tuple[str, list[Detected]]:
    try:
        parsed = _Line.model_validate_json(line)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"])) or "the line"
        raise DatasetError(f"{place}: {field}: {problem['msg']}") from error
    return parsed.photo, [Detected(box.label, box.confidence, box.bbox) for box in parsed.boxes]
