"""Documents of an export's archive that grow with the samples: on disk until they are sent."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO, Self

import yaml

from savo_contracts.documents import MANIFEST_FILE, ExportedSample
from savo_datasets.groups import SUBJECTS_FILE
from savo_datasets.splits import SPLITS

__all__ = ["ArchiveDocuments", "SpooledLines", "dataset_description"]

_CHUNK = 1 << 20


@dataclass
class SpooledLines:
    """Lines of text in a temporary file."""

    count: int = 0
    size: int = 0
    """Bytes."""
    _file: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def add(self, line: str) -> None:
        encoded = line.encode() + b"\n"
        self._file.write(encoded)
        self.size += len(encoded)
        self.count += 1

    def batches(self, count: int) -> Iterator[list[bytes]]:
        """The lines, `count` at a time."""
        self._file.seek(0)
        while batch := [line for _, line in zip(range(count), self._file, strict=False)]:
            yield batch

    def chunks(self) -> Iterator[bytes]:
        """The content in pieces of at most 1 MiB."""
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            yield chunk

    def close(self) -> None:
        self._file.close()


class ArchiveDocuments:
    """manifest.jsonl, the groups for `savo prepare` and `savo import`, and the splits for ultralytics."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.files = {name: self._spool() for name in (MANIFEST_FILE, SUBJECTS_FILE)}
        self.files[SUBJECTS_FILE].add("name,group")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, sample: ExportedSample, line: str) -> None:
        """`line`: of the manifest, without its end."""
        self.files[MANIFEST_FILE].add(line)
        self.files[SUBJECTS_FILE].add(_csv_row(sample.sha256, sample.group))
        name = f"{sample.split.value}.txt"
        if name not in self.files:
            self.files[name] = self._spool()
        self.files[name].add(f"./{sample.image}")

    def present(self) -> list[str]:
        """The splits with samples."""
        return [split for split in SPLITS if f"{split}.txt" in self.files]

    def _spool(self) -> SpooledLines:
        lines = SpooledLines()
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
