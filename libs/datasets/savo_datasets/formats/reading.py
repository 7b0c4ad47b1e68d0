"""Opening of a labelled data set in any format. The content of a folder decides the format, not its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from savo_datasets import app_folder, yolo_folder
from savo_datasets.errors import DatasetError
from savo_datasets.formats import coco, label_studio, pascal_voc
from savo_datasets.formats.folder_files import files_under, photo_files
from savo_datasets.formats.samples import Sample, SampleSource
from savo_datasets.found_photos import FoundPhotos
from savo_datasets.labels import truth_boxes

__all__ = ["is_app_folder", "open_samples"]

_LOOKED_FOR = (
    "YOLO: add a classes.txt with a class name in each line, or a data.yaml with names; labels/NAME.txt for each photo",
    "COCO: a .json with images, annotations and categories",
    "Pascal VOC: a .xml for each photo, with <annotation>",
    "Label Studio: a .json export, a list of tasks with data and annotations",
    "the app's API: labels/NAME.json for each photo",
)
_MAX_JSON_FILES = 50
"""Exports are few files. A folder with more JSON files has one for each photo."""


def open_samples(folder: Path) -> SampleSource:
    """The labelled photos of a folder: YOLO, COCO, Pascal VOC, Label Studio, or as the app's API stores them.

    Raises `DatasetError`, also for a folder in none of these formats.
    """
    has_classes = yolo_folder.has_classes(folder)
    if has_classes and any(yolo_folder.labels_path(photo) for photo in photo_files(folder)):
        return yolo_folder.open_samples(folder)
    contents = dict(_parsed(folder))
    if files := {path: content for path, content in contents.items() if coco.is_coco(content)}:
        return coco.open_samples(folder, files)
    if files := {path: content for path, content in contents.items() if label_studio.is_label_studio(content)}:
        return label_studio.open_samples(folder, files)
    if annotations := pascal_voc.annotation_files(folder):
        return pascal_voc.open_samples(folder, annotations)
    if has_classes:
        return yolo_folder.open_samples(folder)
    if is_app_folder(folder):
        return _from_app(app_folder.find_photos(folder))
    raise DatasetError(f"{folder} is no data set in a format that can be read. Looked for:", _LOOKED_FOR)


def is_app_folder(folder: Path) -> bool:
    """Whether a folder is as the app's API stores it."""
    if yolo_folder.has_classes(folder) or not any(app_folder.label_files(folder)):
        return False
    return not any(coco.is_coco(content) or label_studio.is_label_studio(content) for _, content in _parsed(folder))


def _parsed(folder: Path) -> Iterator[tuple[Path, Any]]:
    """The JSON files of a folder, unless there are many."""
    files = sorted(files_under(folder, {".json"}))
    for path in files if len(files) <= _MAX_JSON_FILES else ():
        try:
            yield path, json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            continue  # another format may be readable


def _from_app(found: FoundPhotos) -> SampleSource:
    return SampleSource("app", found.classes, _samples(found), found.left_out)


def _samples(found: FoundPhotos) -> Iterator[Sample]:
    for photo in found.photos:
        boxes = tuple(truth_boxes(photo.labels, found.classes))
        yield Sample(photo.path.name, boxes, photo.path, group=found.groups.get(photo.path.stem))
