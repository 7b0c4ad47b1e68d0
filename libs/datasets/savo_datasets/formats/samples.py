"""The stream of samples that every reader yields and every writer takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from savo_datasets.found_photos import LeftOut
from savo_datasets.labels import TruthBox

__all__ = ["Sample", "SampleSource"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A labelled photo."""

    name: str
    """File name in the data set, such as `IMG_0042.jpg`."""
    boxes: tuple[TruthBox, ...]
    """Class names and boxes, in fractions of the upright photo. Empty for a background."""
    path: Path | None = None
    """Where the photo is, if it is a file."""
    size: tuple[int, int] | None = None
    """Width and height of the upright photo in pixels, where they are known."""
    split: str | None = None
    """train, val or test, where the source divides its photos."""
    group: str | None = None
    """Subject or session, where the source gives one."""


@dataclass(frozen=True)
class SampleSource:
    """A data set that is open for reading."""

    format: str
    """Name of the format for messages."""
    classes: tuple[str, ...]
    samples: Iterator[Sample]
    """Read lazily. Reading adds to `left_out`."""
    left_out: LeftOut = field(default_factory=LeftOut)
    """Photos and rows that are not used, by reason."""
