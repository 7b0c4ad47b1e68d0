"""Limit on the number of parts of a photo's container."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from itertools import islice
from typing import ParamSpec, TypeVar

from savo_detection.errors import MalformedPhotoError

__all__ = ["MAX_PARTS", "limit_parts"]

MAX_PARTS = 100_000
"""Largest number of segments, chunks or boxes.

A photo has dozens and a long animation ten thousand. More would take seconds and memory.
"""

_TOO_MANY = f"it is made of more than {MAX_PARTS:,} parts, and a photo has dozens; save it again and send the new file"

Arguments = ParamSpec("Arguments")
Part = TypeVar("Part")


def limit_parts(parse: Callable[Arguments, Iterator[Part]]) -> Callable[Arguments, Iterator[Part]]:
    """Decorator of a parser: it raises `MalformedPhotoError` after `MAX_PARTS` parts."""

    @wraps(parse)
    def limited(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Iterator[Part]:
        parts = parse(*args, **kwargs)
        yield from islice(parts, MAX_PARTS)
        for _part in parts:
            raise MalformedPhotoError(_TOO_MANY)

    return limited
