"""Data sets that the commands of `savo dataset` read: folders in any format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from savo_datasets.errors import DatasetError
from savo_datasets.formats.photo_sizes import with_sizes
from savo_datasets.formats.reading import open_samples
from savo_datasets.formats.samples import Sample, SampleSource

__all__ = ["folder_of", "opened", "selected"]


def folder_of(source: str) -> Path:
    """The folder of a data set. A dataset.yaml stands for the folder that it is in. Raises `DatasetError`."""
    path = Path(source)
    if path.is_file() and path.suffix in {".yaml", ".yml"}:
        return path.parent
    if not path.is_dir():
        raise DatasetError(f"{source} is no folder: give a folder with a data set")
    return path


def opened(source: str) -> SampleSource:
    """A data set whose samples have sizes. Raises `DatasetError`."""
    found = open_samples(folder_of(source))
    return SampleSource(found.format, found.classes, with_sizes(found.samples, found.left_out), found.left_out)


def selected(source: SampleSource, class_name: str | None, split: str | None) -> Iterator[Sample]:
    """Samples with a box of a class and of a split, where they are given. Raises `DatasetError` for another class."""
    if class_name is not None and class_name not in source.classes:
        raise DatasetError(f"there is no class {class_name!r}: the classes are {', '.join(source.classes)}")
    for sample in source.samples:
        is_of_class = class_name is None or any(box.label == class_name for box in sample.boxes)
        if is_of_class and split in {None, sample.split}:
            yield sample
