"""Duplicate photos: equal bytes, and near-duplicates by perceptual hash.

Equal bytes are one sample: a second scan of them is rejected. Near-duplicates (a second shot, another size, a
recompressed copy) are good samples, but they must not be in different splits. They form clusters by two 64-bit
perceptual hashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import imagehash
from PIL import Image

from savo_collector.errors import RejectedError
from savo_collector.quality import Pixels
from savo_contracts.samples import RejectionReason

__all__ = ["MAX_DISTANCE", "Fingerprint", "bands", "fingerprint_of", "is_near_duplicate", "require_unclaimed"]

MAX_DISTANCE = 4
"""Most differing bits, in each hash, of two near-duplicates.

231 photos of one shooting session hold 20 such pairs, 162 photos of different products none.
"""

_BITS = 64


@dataclass(frozen=True)
class Fingerprint:
    """Two hashes of 64 bits, as hex: of gradients (dhash) and of low frequencies (phash).

    Two, because each alone takes some different photos for near-duplicates.
    """

    dhash: str
    phash: str


def fingerprint_of(pixels: Pixels) -> Fingerprint:
    """Both hashes of a photo of any size, reduced to 256 px first (library: imagehash)."""
    image = Image.fromarray(pixels)
    image.thumbnail((256, 256))
    return Fingerprint(str(imagehash.dhash(image)), str(imagehash.phash(image)))


def is_near_duplicate(one: Fingerprint, other: Fingerprint) -> bool:
    """Whether each hash differs in at most MAX_DISTANCE bits."""
    return _distance(one.dhash, other.dhash) <= MAX_DISTANCE and _distance(one.phash, other.phash) <= MAX_DISTANCE


def bands(hexadecimal: str) -> tuple[int, ...]:
    """A 64-bit hash cut into MAX_DISTANCE + 1 pieces, for an index.

    Two hashes with at most MAX_DISTANCE differing bits share at least one piece.
    """
    value, pieces = int(hexadecimal, 16), MAX_DISTANCE + 1
    edges = [_BITS * piece // pieces for piece in range(pieces + 1)]
    return tuple(value >> low & ((1 << high - low) - 1) for low, high in pairwise(edges))


def require_unclaimed(scan_id: str, owner: str | None) -> None:
    """Raises `RejectedError(duplicate)` when these bytes are the sample of another scan, `owner`."""
    if owner is not None and owner != scan_id:
        raise RejectedError(RejectionReason.DUPLICATE, f"the same photo is the sample of scan {owner} already")


def _distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()
