"""Pairs of photos that look alike: the rule that keeps near-duplicates in one split.

The rule is `look_alike_links`: difference hashes (dHash, 64 bits) at most `near_bits` bits apart. Its cost grows with
the number of photos and of similar pairs, not with the square of the number of photos.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["difference_hash", "look_alike_links"]

_HASH_BITS = 64
_SHARED_PIECES = 2
"""Equal pieces that make two hashes candidates. One piece alone would give long lists of candidates."""


def look_alike_links(hashes: Sequence[int], near_bits: int) -> Iterator[tuple[int, int]]:
    """Index pairs that connect all look-alikes: a path of links leads from each photo to each photo that it resembles.

    Equal hashes are linked to their first photo only. A pair may occur more than once. A negative `near_bits` gives no
    link.
    """
    if near_bits < 0 or not hashes:
        return
    values, first, inverse = np.unique(np.asarray(hashes, np.uint64), return_index=True, return_inverse=True)
    for index, original in enumerate(first[inverse].tolist()):
        if original != index:
            yield original, index
    for one, other in _near_values(values, near_bits):
        low, high = sorted((int(first[one]), int(first[other])))
        yield low, high


def difference_hash(photo: bytes) -> int | None:
    """Difference hash (dHash): a bit for each of 8×8 pixels, set when it is brighter than its left neighbour.

    None for a photo that OpenCV cannot decode.
    """
    try:
        grey = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) if photo else None
    except cv2.error:  # sizes above OpenCV's limits
        return None
    if grey is None or grey.size == 0:
        return None
    small: NDArray[np.uint8] = np.asarray(cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA), np.uint8)
    bits = (small[:, 1:] > small[:, :-1]).flatten()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _near_values(values: NDArray[np.uint64], near_bits: int) -> Iterator[tuple[int, int]]:
    """Index pairs of different hashes at most `near_bits` bits apart.

    A hash is cut into `near_bits + 2` pieces: two hashes that differ in `near_bits` bits have two equal pieces.
    """
    pieces = min(near_bits + _SHARED_PIECES, _HASH_BITS)
    edges = [_HASH_BITS * piece // pieces for piece in range(pieces + 1)]
    masks = [((1 << high) - 1) ^ ((1 << low) - 1) for low, high in pairwise(edges)]
    for shared in combinations(masks, _SHARED_PIECES):
        keys = values & np.uint64(sum(shared))
        order = np.argsort(keys, kind="stable")
        yield from _near_in_runs(values[order], keys[order], order, near_bits)


def _near_in_runs(
    values: NDArray[np.uint64], keys: NDArray[np.uint64], order: NDArray[np.intp], near_bits: int
) -> Iterator[tuple[int, int]]:
    """Near pairs with equal keys. The keys are sorted, so equal keys are neighbours."""
    rows = np.arange(len(values))
    for distance in range(1, len(values)):
        rows = rows[rows + distance < len(values)]
        rows = rows[keys[rows] == keys[rows + distance]]
        if not len(rows):
            return
        is_near = np.bitwise_count(values[rows] ^ values[rows + distance]) <= near_bits
        yield from zip(order[rows[is_near]].tolist(), order[rows[is_near] + distance].tolist(), strict=True)
