"""Duplicate photos: equal bytes, and near-duplicates by perceptual hash.

Equal bytes are one sample: a second scan of them is rejected. Near-duplicates are good samples, but they must not be in
different splits. They form clusters by two 64-bit perceptual hashes (`savo_detection.photos.fingerprints`).
"""

from __future__ import annotations

from itertools import pairwise

from savo_collector.errors import RejectedError
from savo_contracts.samples import RejectionReason
from savo_detection.photos.fingerprints import MAX_DISTANCE

__all__ = ["bands", "require_unclaimed"]

_BITS = 64


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
