"""Reader of an unpacked export: boxes in full precision with their names, groups, and the classes of the product."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from savo_contracts.documents import MANIFEST_FILE, SUMMARY_FILE, ClassList, RejectedBox
from savo_contracts.envelope import Message, Sha256
from savo_contracts.geometry import BoundingBox
from savo_datasets.errors import DatasetError
from savo_datasets.labels import TruthBox

__all__ = ["ExportedLabels", "UnpackedExport", "read_export"]


class _Box(Message):
    label: str
    bbox: BoundingBox


class _Line(Message):
    sha256: Sha256
    labels: str
    labels_sha256: Sha256
    boxes: tuple[_Box, ...]
    rejected: tuple[RejectedBox, ...] = ()
    exhaustive: bool = True
    anonymous: bool = False


@dataclass(frozen=True, slots=True)
class ExportedLabels:
    """What the manifest says about a photo."""

    boxes: tuple[TruthBox, ...] | None
    """None where the label file was changed after the export."""
    rejected: tuple[RejectedBox, ...]
    exhaustive: bool
    anonymous: bool


@dataclass(frozen=True)
class UnpackedExport:
    """The manifest of an export, by the name of the photo without suffix."""

    labels: dict[str, ExportedLabels] = field(default_factory=dict)
    classes: ClassList = field(default_factory=ClassList)


def read_export(folder: Path) -> UnpackedExport | None:
    """None for a folder that is no export of the product. Raises `DatasetError` with file and line."""
    if not (folder / SUMMARY_FILE).is_file() or not (folder / MANIFEST_FILE).is_file():
        return None
    found = UnpackedExport(classes=_classes(folder / "classes.json"))
    with (folder / MANIFEST_FILE).open(encoding="utf-8") as lines:
        for number, text in enumerate(lines, start=1):
            try:
                line = _Line.model_validate_json(text)
            except ValidationError as error:
                message = error.errors(include_url=False)[0]["msg"]
                raise DatasetError(f"{folder / MANIFEST_FILE}:{number}: {message}") from error
            found.labels[line.sha256] = ExportedLabels(
                _boxes(folder, line), line.rejected, line.exhaustive, line.anonymous
            )
    return found


def _boxes(folder: Path, line: _Line) -> tuple[TruthBox, ...] | None:
    path = (folder / line.labels).resolve()
    is_here = path.is_relative_to(folder.resolve()) and path.is_file()
    if not is_here or hashlib.sha256(path.read_bytes()).hexdigest() != line.labels_sha256:
        return None
    return tuple(TruthBox(box.label, box.bbox) for box in line.boxes)


def _classes(path: Path) -> ClassList:
    try:
        return ClassList.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return ClassList()
