"""How many parts a photo's container may have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from itertools import islice
from typing import ParamSpec, TypeVar

from savo_detection.errors import MalformedPhotoError

__all__ = ["MAX_PARTS", "bounded"]

MAX_PARTS = 100_000
"""Segments, chunks or boxes. A photo has dozens, a long animation ten thousand; more would cost seconds and memory."""

_TOO_MANY = f"it is made of more than {MAX_PARTS:,} parts, and a photo has dozens; save it again and send the new file"

Arguments = ParamSpec("Arguments")
Part = TypeVar("Part")


def bounded(walk: Callable[Arguments, Iterator[Part]]) -> Callable[Arguments, Iterator[Part]]:
    """The same walk over a container's parts, which raises `MalformedPhotoError` after `MAX_PARTS` of them."""

    @wraps(walk)
    def bounded_walk(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Iterator[Part]:
        parts = walk(*args, **kwargs)
        yield from islice(parts, MAX_PARTS)
        for _part in parts:
            raise MalformedPhotoError(_TOO_MANY)

    return bounded_walk
