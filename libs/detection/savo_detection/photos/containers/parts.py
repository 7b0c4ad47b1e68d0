"""How many parts a photo's container may be made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from savo_detection.errors import UnreadablePhotoError

__all__ = ["MOST_PARTS", "counted"]

MOST_PARTS = 100_000
"""Segments, chunks or boxes. A photo has dozens, a long animation ten thousand; nothing but parts would keep every reader busy for seconds."""

Part = TypeVar("Part")


def counted(parts: Iterable[Part]) -> Iterator[Part]:
    """The same, but not without end. Raises `UnreadablePhotoError`."""
    for number, part in enumerate(parts):
        if number == MOST_PARTS:
            raise UnreadablePhotoError(f"it is made of more than {MOST_PARTS:,} parts")
        yield part
