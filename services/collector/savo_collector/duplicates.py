"""The same photo twice, and photos that look alike.

Equal bytes are one sample: a second scan of them is refused. Photos that merely look alike (a second shot, another size, a recompressed copy)
are good samples, but they must not stand on both sides of a split, so they form clusters by two 64-bit perceptual hashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import imagehash
from PIL import Image

from savo_collector.errors import RefusedError
from savo_collector.quality import Pixels
from savo_contracts.samples import RejectionReason

__all__ = ["MAX_DISTANCE", "Fingerprint", "bands", "fingerprint_of", "is_near_duplicate", "require_unclaimed"]

MAX_DISTANCE = 4
"""Most differing bits, in each hash, of two photos that look alike. 231 photos of one shooting session hold 20 such pairs; 162 of different products none."""

_BITS = 64


@dataclass(frozen=True)
class Fingerprint:
    """Two hashes of 64 bits, as hex: gradients (dhash) and low frequencies (phash). Alone, either one takes strangers for twins now and then."""

    dhash: str
    phash: str


def fingerprint_of(pixels: Pixels) -> Fingerprint:
    image = Image.fromarray(pixels)
    image.thumbnail((256, 256))
    return Fingerprint(str(imagehash.dhash(image)), str(imagehash.phash(image)))


def is_near_duplicate(one: Fingerprint, other: Fingerprint) -> bool:
    return _distance(one.dhash, other.dhash) <= MAX_DISTANCE and _distance(one.phash, other.phash) <= MAX_DISTANCE


def bands(hexadecimal: str) -> tuple[int, ...]:
    """A hash cut in MAX_DISTANCE + 1 pieces. Two hashes with at most MAX_DISTANCE differing bits share at least one piece, for an index."""
    value, pieces = int(hexadecimal, 16), MAX_DISTANCE + 1
    edges = [_BITS * piece // pieces for piece in range(pieces + 1)]
    return tuple(value >> low & ((1 << high - low) - 1) for low, high in pairwise(edges))


def require_unclaimed(scan_id: str, owner: str | None) -> None:
    """Raises `RefusedError` when another scan's sample holds these bytes already."""
    if owner is not None and owner != scan_id:
        raise RefusedError(RejectionReason.DUPLICATE, f"the same photo is the sample of scan {owner} already")


def _distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()
