"""Sizes of photos as people see them: upright, by the orientation in EXIF."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from PIL import Image

from savo_datasets.formats.samples import Sample
from savo_datasets.found_photos import LeftOut

__all__ = ["upright_size", "with_sizes"]

_ORIENTATION_TAG = 0x0112
_TRANSPOSED = frozenset({5, 6, 7, 8})


def upright_size(photo: Path) -> tuple[int, int] | None:
    """Width and height in pixels, from the header; None for a file that is no photo."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(photo) as image:
                (width, height), orientation = image.size, image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # noqa: BLE001 Pillow's plugins raise errors of many kinds for damaged files
        return None
    return (height, width) if orientation in _TRANSPOSED else (width, height)


def with_sizes(samples: Iterable[Sample], left_out: LeftOut) -> Iterator[Sample]:
    """The samples with their sizes. A photo whose header cannot be read is left out."""
    for sample in samples:
        size = sample.size or (upright_size(sample.path) if sample.path else None)
        if size is None:
            left_out.add("unreadable", str(sample.path or sample.name))
        else:
            yield replace(sample, size=size)
