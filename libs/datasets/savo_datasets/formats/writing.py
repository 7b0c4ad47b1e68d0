"""Writing of samples to a folder in a given format, each photo in its split."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from savo_datasets.formats import ndjson
from savo_datasets.formats.coco import CocoFile
from savo_datasets.formats.pascal_voc import voc_annotation
from savo_datasets.formats.samples import Sample
from savo_datasets.labels import format_labels
from savo_datasets.splits import SPLITS
from savo_datasets.yolo_writer import write_description

__all__ = ["Format", "write_folder"]

Add = Callable[[Sample], None]
"""Writes a sample of known size. Its name is unique in the data set, and its photo is written already."""

_IMAGES = Path("images")
_VOC_IMAGES, _VOC_ANNOTATIONS, _VOC_SETS = Path("JPEGImages"), Path("Annotations"), Path("ImageSets", "Main")


class Format(StrEnum):
    """Formats that are written."""

    YOLO = "yolo"
    COCO = "coco"
    VOC = "voc"
    NDJSON = "ndjson"


def write_folder(
    folder: Path, samples: Iterable[Sample], classes: Sequence[str], form: Format, *, root: Path | None = None
) -> dict[str, int]:
    """Write samples of known size to an empty folder, photos byte for byte, and return their number by split.

    A sample without a split is in train. A number is added to a name that occurs again. `root`: the data set's final
    folder when it is not `folder`. Raises `OSError`.
    """
    counts = dict.fromkeys(SPLITS, 0)
    stems: set[str] = set()
    with _WRITERS[form](folder, classes, root or folder) as add:
        for found in samples:
            sample = replace(found, name=_unique(found.name, stems), split=found.split or SPLITS[0])
            assert sample.path is not None
            assert sample.split is not None
            target = folder / _photo_folder(form, sample.split) / sample.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sample.path, target)
            add(sample)
            counts[sample.split] += 1
    return {split: count for split, count in counts.items() if count}


def _photo_folder(form: Format, split: str) -> Path:
    return _VOC_IMAGES if form is Format.VOC else _IMAGES / split


def _unique(name: str, stems: set[str]) -> str:
    """The name, with a number if its stem was used before. Label files are named after the stem."""
    path, count = Path(name), 1
    stem = path.stem
    while stem in stems:
        count += 1
        stem = f"{path.stem}~{count}"
    stems.add(stem)
    return f"{stem}{path.suffix}"


@contextmanager
def _yolo(folder: Path, classes: Sequence[str], root: Path) -> Iterator[Add]:
    present = set()

    def add(sample: Sample) -> None:
        labels = folder / "labels" / str(sample.split) / f"{Path(sample.name).stem}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text(format_labels(sample.boxes, classes), encoding="utf-8")
        present.add(sample.split)

    yield add
    write_description(folder, classes, root=root, present=[split for split in SPLITS if split in present])


@contextmanager
def _coco(folder: Path, classes: Sequence[str], _root: Path) -> Iterator[Add]:
    with ExitStack() as stack:
        files: dict[str, CocoFile] = {}

        def add(sample: Sample) -> None:
            split = str(sample.split)
            if split not in files:
                sink = stack.enter_context(_created(folder / "annotations" / f"instances_{split}.json"))
                files[split] = stack.enter_context(CocoFile(sink, classes))
            files[split].add(sample)

        yield add


@contextmanager
def _voc(folder: Path, classes: Sequence[str], _root: Path) -> Iterator[Add]:
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
    (folder / _VOC_ANNOTATIONS).mkdir()
    with ExitStack() as stack:
        sets: dict[str, BinaryIO] = {}

        def add(sample: Sample) -> None:
            split, stem = str(sample.split), Path(sample.name).stem
            (folder / _VOC_ANNOTATIONS / f"{stem}.xml").write_bytes(voc_annotation(sample))
            if split not in sets:
                sets[split] = stack.enter_context(_created(folder / _VOC_SETS / f"{split}.txt"))
            sets[split].write(f"{stem}\n".encode())

        yield add


@contextmanager
def _ndjson(folder: Path, classes: Sequence[str], root: Path) -> Iterator[Add]:
    ids = ndjson.class_ids(classes)
    with _created(folder / f"{root.name or 'data'}.ndjson") as sink:
        ndjson.write_header(sink, classes, name=root.name)
        yield lambda sample: ndjson.write_sample(sink, sample, ids)


@contextmanager
def _created(path: Path) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as sink:
        yield sink


_WRITERS: Mapping[Format, Callable[[Path, Sequence[str], Path], AbstractContextManager[Add]]] = {
    Format.YOLO: _yolo,
    Format.COCO: _coco,
    Format.VOC: _voc,
    Format.NDJSON: _ndjson,
}
