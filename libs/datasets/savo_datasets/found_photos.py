"""Photos that a reader found in a folder, and the files that it left out, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from savo_datasets.errors import DatasetError
from savo_datasets.sessions import Capture
from savo_datasets.signatures import Signature

__all__ = ["CheckedPhoto", "FoundPhotos", "LeftOut", "printable"]


@dataclass(frozen=True)
class CheckedPhoto:
    """A photo with a valid label file."""

    path: Path
    labels: str
    """Text of its YOLO label file, checked, with polygons replaced by their bounding boxes."""
    signature: Signature
    capture: Capture | None = None
    synthetic: bool = False
    """Drawn by a program: for train alone."""


@dataclass
class LeftOut:
    """Files that are not used, by reason: each by its path in the folder, with details after a colon."""

    files: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, file: str, details: str = "") -> None:
        named = printable(file)
        self.files.setdefault(reason, []).append(f"{named}: {details}" if details else named)

    def merged(self, other: Mapping[str, list[str]]) -> Self:
        """These files and the others."""
        reasons = [*self.files, *(reason for reason in other if reason not in self.files)]
        both = {reason: [*self.files.get(reason, []), *other.get(reason, [])] for reason in reasons}
        return replace(self, files=both)

    def examples(self, count: int = 10) -> list[str]:
        """The first files with their reasons, at most three of each reason."""
        return [f"{reason}: {file}" for reason, files in self.files.items() for file in files[:3]][:count]

    def refuse(self) -> None:
        """Raises `DatasetError` when there is any file."""
        if self.files:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.counts().items())
            raise DatasetError(f"the data set has photos or rows that cannot be used ({reasons})", self.examples())

    def counts(self) -> dict[str, int]:
        """Number of files by reason."""
        return {reason: len(files) for reason, files in self.files.items()}


@dataclass(frozen=True)
class FoundPhotos:
    """The usable photos of a folder."""

    classes: tuple[str, ...]
    """Class names in order of their ids."""
    photos: tuple[CheckedPhoto, ...]
    left_out: LeftOut
    groups: Mapping[str, str] = field(default_factory=dict)
    """Group by photo name, where the folder gives one."""
    counted: Mapping[str, int] = field(default_factory=dict)
    """What the labels hold beside boxes: number by description."""
    unknown_classes: tuple[str, ...] = ()
    """Classes from names that the catalogue of ingredients does not have."""
    unboxed: frozenset[str] = frozenset()
    """Names of the photos that show an item without a box, beside items with boxes."""


def printable(name: str) -> str:
    """The name on one line of a terminal: control characters and undecodable bytes are escaped."""
    decodable = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in decodable)
