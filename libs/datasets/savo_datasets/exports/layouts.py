"""Layouts of an export: where its photos and labels are, and the documents that describe them in that format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import BinaryIO

from savo_contracts.documents import ExportedSample, SampleMeta, sample_image_key, sample_labels_key
from savo_datasets.formats import ndjson
from savo_datasets.formats.coco import CocoFile
from savo_datasets.formats.pascal_voc import voc_annotation
from savo_datasets.formats.samples import Sample
from savo_datasets.formats.writing import Format
from savo_datasets.labels import TruthBox

__all__ = ["Format", "FormatDocuments", "image_path", "label_file", "labels_path", "sample_of"]

OpenDocument = Callable[[str], BinaryIO]
"""Creates a document of the archive by its path."""


def image_path(meta: SampleMeta, form: Format) -> str:
    """Path of a photo in the archive."""
    name = _file_name(sample_image_key(meta.sha256, meta.media_type))
    if form is Format.VOC:
        return f"JPEGImages/{name}"
    return f"images/{meta.split.value}/{name}" if form is Format.NDJSON else f"images/{name}"


def labels_path(meta: SampleMeta, form: Format) -> str:
    """Path of a photo's labels in the archive."""
    if form is Format.VOC:
        return f"Annotations/{meta.sha256}.xml"
    name = _file_name(sample_labels_key(meta.sha256))
    return f"labels/{meta.split.value}/{name}" if form is Format.NDJSON else f"labels/{name}"


def label_file(sample: ExportedSample, stored: bytes, form: Format) -> bytes:
    """A photo's labels: the stored file, except for Pascal VOC."""
    return voc_annotation(sample_of(sample)) if form is Format.VOC else stored


def sample_of(sample: ExportedSample) -> Sample:
    """The sample as writers of formats take it."""
    return Sample(
        name=_file_name(sample.image),
        boxes=tuple(TruthBox(box.label, box.bbox) for box in sample.boxes),
        size=(sample.width, sample.height),
        split=sample.split.value,
        group=sample.group,
    )


@dataclass
class FormatDocuments:
    """The documents of a format that grow with the samples. They are complete after `finish`."""

    form: Format
    classes: Sequence[str]
    create: OpenDocument
    _stack: ExitStack = field(default_factory=ExitStack)
    _coco: dict[str, CocoFile] = field(default_factory=dict)
    _files: dict[str, BinaryIO] = field(default_factory=dict)
    _ids: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.form is Format.NDJSON:
            self._ids = ndjson.class_ids(self.classes)
            ndjson.write_header(self._file("data.ndjson"), self.classes)
        if self.form is Format.VOC:
            self._file("labels.txt").write("".join(f"{name}\n" for name in self.classes).encode())

    def add(self, exported: ExportedSample) -> None:
        sample, split = sample_of(exported), exported.split.value
        if self.form is Format.COCO:
            if split not in self._coco:
                sink = self._file(f"annotations/instances_{split}.json")
                self._coco[split] = self._stack.enter_context(CocoFile(sink, self.classes))
            self._coco[split].add(sample)
        elif self.form is Format.NDJSON:
            ndjson.write_sample(self._file("data.ndjson"), sample, self._ids)
        elif self.form is Format.VOC:
            self._file(f"ImageSets/Main/{split}.txt").write(f"{exported.sha256}\n".encode())

    def finish(self) -> None:
        self._stack.close()

    def _file(self, path: str) -> BinaryIO:
        if path not in self._files:
            self._files[path] = self.create(path)
        return self._files[path]


def _file_name(path: str) -> str:
    return path.rpartition("/")[2]
