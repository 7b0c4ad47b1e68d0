"""Signature of a photo: a small grey copy and two perceptual hashes of it, by which look-alikes are found.

Both hashes are computed from the copy alone, so stored copies are enough to change them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BLANK",
    "SIDE",
    "Hashes",
    "Signature",
    "copies_of",
    "hashes_of",
    "mirrored",
    "signature_of",
    "signature_of_pixels",
]

SIDE = 24
"""Width and height of the grey copy, pixels. The photo is squeezed to a square."""

_REDUCTIONS = (cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_GRAYSCALE)
_LEAST_SIDE = 2 * SIDE
"""Pixels of the shorter side of a reduced photo that is precise enough for the copy."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What look-alikes of a photo are found by."""

    copy: bytes
    """Grey copy of SIDE × SIDE pixels, row by row."""
    dhash: int
    """64 bits: for 8 × 8 cells, whether the next cell to the right is brighter."""
    phash: int
    """64 bits: for the 8 × 8 lowest frequencies, whether the coefficient is above their median."""


class Hashes(NamedTuple):
    """Hashes of several photos, in the same order."""

    dhash: NDArray[np.uint64]
    phash: NDArray[np.uint64]


BLANK = Signature(bytes(SIDE * SIDE), 0, 0)
"""Signature of a photo without contrast, which looks like no other photo."""


def signature_of(photo: bytes) -> Signature | None:
    """Signature of an encoded photo, upright. None for a photo that OpenCV cannot decode."""
    data = np.frombuffer(photo, np.uint8)
    for reduction in _REDUCTIONS:
        try:
            grey = cv2.imdecode(data, reduction) if photo else None
        except cv2.error:  # sizes above OpenCV's limits
            return None
        if grey is None or grey.size == 0:
            return None
        if min(grey.shape) >= _LEAST_SIDE:
            break
    return signature_of_pixels(np.asarray(grey, np.uint8))


def signature_of_pixels(pixels: NDArray[np.uint8]) -> Signature:
    """Signature of a decoded photo: height × width (grey) or height × width × 3 (RGB)."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
    copy = np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    return _signatures(copy[np.newaxis])[0]


def mirrored(signatures: Sequence[Signature]) -> list[Signature]:
    """Signatures of the photos with left and right exchanged."""
    return _signatures(np.ascontiguousarray(copies_of(signatures)[:, :, ::-1]))


def copies_of(signatures: Sequence[Signature]) -> NDArray[np.uint8]:
    """The grey copies: number × SIDE × SIDE."""
    joined = b"".join(signature.copy for signature in signatures)
    return np.frombuffer(joined, np.uint8).reshape(-1, SIDE, SIDE)


def hashes_of(copies: NDArray[np.uint8]) -> Hashes:
    """Hashes of grey copies: number × SIDE × SIDE."""
    values = copies.astype(np.float64)
    cells = _means(8) @ values @ _means(9).T
    frequencies = (_cosines() @ values @ _cosines().T).reshape(-1, 64)
    above_median = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return Hashes(_packed(cells[:, :, 1:] > cells[:, :, :-1]), _packed(above_median))


def _signatures(copies: NDArray[np.uint8]) -> list[Signature]:
    hashes = hashes_of(copies)
    return [
        Signature(copy.tobytes(), dhash, phash)
        for copy, dhash, phash in zip(copies, hashes.dhash.tolist(), hashes.phash.tolist(), strict=True)
    ]


def _packed(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    return np.packbits(bits.reshape(-1, 64), axis=1).view(">u8").ravel().astype(np.uint64)


@cache
def _means(cells: int) -> NDArray[np.float64]:
    """Matrix that reduces SIDE pixels to the means of `cells` equal parts: cells × SIDE."""
    edges = np.arange(SIDE + 1) * cells
    parts = np.arange(cells + 1) * SIDE
    overlap = np.minimum(edges[1:], parts[1:, None]) - np.maximum(edges[:-1], parts[:-1, None])
    return np.asarray(np.maximum(overlap, 0) / SIDE, np.float64)


@cache
def _cosines() -> NDArray[np.float64]:
    """Matrix of the eight lowest frequencies of the discrete cosine transform (DCT-II): 8 × SIDE."""
    return np.cos(np.pi * np.outer(np.arange(8), 2 * np.arange(SIDE) + 1) / (2 * SIDE))
