"""Documents of an export's archive that grow with the samples: on disk until they are sent."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import BinaryIO, Self

import yaml

from savo_contracts.documents import MANIFEST_FILE, ExportedSample
from savo_datasets.exports.layouts import Format, FormatDocuments
from savo_datasets.groups import SUBJECTS_FILE
from savo_datasets.splits import SPLITS

__all__ = ["ArchiveDocuments", "SpooledLines", "dataset_description"]

_CHUNK = 1 << 20


@dataclass
class SpooledLines:
    """Lines of text in a temporary file."""

    count: int = 0
    file: BinaryIO = field(default_factory=tempfile.TemporaryFile)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.file.seek(0, os.SEEK_END)

    def add(self, line: str) -> None:
        self.file.write(line.encode() + b"\n")
        self.count += 1

    def batches(self, count: int) -> Iterator[list[bytes]]:
        """The lines, `count` at a time."""
        self.file.seek(0)
        while batch := [line for _, line in zip(range(count), self.file, strict=False)]:
            yield batch

    def chunks(self) -> Iterator[bytes]:
        """The content in pieces of at most 1 MiB."""
        self.file.seek(0)
        while chunk := self.file.read(_CHUNK):
            yield chunk

    def close(self) -> None:
        self.file.close()


class ArchiveDocuments:
    """manifest.jsonl, the groups for `savo prepare` and `savo import`, the splits for ultralytics, and the format's."""

    def __init__(self, form: Format, classes: Sequence[str]) -> None:
        self._stack = ExitStack()
        self._classes = classes
        self._has_lists = form is not Format.VOC
        self.files: dict[str, SpooledLines] = {}
        self._of_format = FormatDocuments(form, classes, lambda path: self._spool(path).file)
        self._spool(MANIFEST_FILE)
        self._spool(SUBJECTS_FILE).add("name,group")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._of_format.finish()
        self._stack.close()

    def add(self, sample: ExportedSample, line: str) -> None:
        """`line`: of the manifest, without its end."""
        self.files[MANIFEST_FILE].add(line)
        self.files[SUBJECTS_FILE].add(_csv_row(sample.sha256, sample.group))
        self._of_format.add(sample)
        if self._has_lists:
            name = f"{sample.split.value}.txt"
            (self.files.get(name) or self._spool(name)).add(f"./{sample.image}")

    def finish(self) -> None:
        """Complete the documents of the format, and the description for ultralytics."""
        self._of_format.finish()
        if self._has_lists:
            present = [split for split in SPLITS if f"{split}.txt" in self.files]
            self._spool("dataset.yaml").file.write(dataset_description(self._classes, present).encode())

    def _spool(self, name: str) -> SpooledLines:
        lines = self.files[name] = SpooledLines()
        self._stack.callback(lines.close)
        return lines


def dataset_description(names: Sequence[str], present: Sequence[str]) -> str:
    """dataset.yaml as ultralytics reads it, without a path: the folder is where the file is.

    ultralytics needs val photos to measure on between epochs. Without any it gets the training photos.
    """
    lists = {split: f"{split}.txt" for split in present}
    if lists:
        lists.setdefault("train", next(iter(lists.values())))
        lists.setdefault("val", lists["train"])
    content = {**lists, "nc": len(names), "names": dict(enumerate(names))}
    return str(yaml.safe_dump(content, allow_unicode=True, sort_keys=False))


def _csv_row(*values: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()
