"""NDJSON: a line for the data set and a line for each photo, in the form that ultralytics reads.

    {"type": "dataset", "task": "detect", "name": …, "version": 1, "path": ".", "class_names": {"0": "egg"}}
    {"type": "image", "file": "IMG_0042.jpg", "width": …, "height": …, "split": "train", "annotations": {"boxes": […]}}

A box is `[class id, x_centre, y_centre, width, height]`, in fractions of the upright photo. The photo is at
`path`/images/`split`/`file`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO

from savo_datasets.formats.samples import Sample

__all__ = ["SCHEMA_VERSION", "class_ids", "write_header", "write_ndjson", "write_sample"]

SCHEMA_VERSION = 1


def write_ndjson(
    sink: BinaryIO, samples: Iterable[Sample], classes: Sequence[str], *, name: str = "savo", path: str = "."
) -> int:
    """Write samples line by line, and return their number.

    `path`: the folder with images/, relative to the file.
    """
    write_header(sink, classes, name=name, path=path)
    ids, count = class_ids(classes), 0
    for sample in samples:
        write_sample(sink, sample, ids)
        count += 1
    return count


def class_ids(classes: Sequence[str]) -> dict[str, int]:
    """Class id by name."""
    return {label: number for number, label in enumerate(classes)}


def write_header(sink: BinaryIO, classes: Sequence[str], *, name: str = "savo", path: str = ".") -> None:
    """Write the line of the data set."""
    header = {"type": "dataset", "task": "detect", "name": name, "version": SCHEMA_VERSION, "path": path}
    _write_line(sink, header | {"class_names": {str(number): label for label, number in class_ids(classes).items()}})


def write_sample(sink: BinaryIO, sample: Sample, ids: Mapping[str, int]) -> None:
    """Write the line of a sample. One without a split is in train."""
    _write_line(sink, _line(sample, ids))


def _line(sample: Sample, ids: Mapping[str, int]) -> dict[str, Any]:
    width, height = sample.size or (None, None)
    boxes = [[ids[box.label], *(round(value, 6) for value in box.bbox.to_yolo())] for box in sample.boxes]
    group = {} if sample.group is None else {"group": sample.group}
    split = sample.split or "train"
    image = {"type": "image", "file": sample.name, "width": width, "height": height, "split": split}
    return image | group | {"annotations": {"boxes": boxes}}


def _write_line(sink: BinaryIO, value: dict[str, Any]) -> None:
    sink.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
