"""Photos that look alike: the rule that keeps near-duplicates in one split.

`RULE` decides for the collector and for `savo prepare`. A second shot, a copy that is recompressed, cropped, rotated a
little, brightened or mirrored looks like its original. Other content at the same place does not.

1. Candidates: photos whose two perceptual hashes differ in few bits. That is fast and finds almost all look-alikes,
   but also unlike photos of the same composition.
2. A coarse correlation of the grey copies, without alignment, leaves a few of them.
3. The correlation of details after alignment decides (Evangelidis and Psarakis, "Parametric image alignment using
   enhanced correlation coefficient maximization", 2008).

`benchmarks/look_alike_rule.py` chooses the limits and measures them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from savo_datasets.signatures import SIDE, Hashes, Signature, copies_of, mirrored

__all__ = ["RULE", "LookAlikeRule"]

_CHUNK = 1 << 15
"""Hashes that are compared at once: they stay in the processor's cache."""

_MIRRORED = 1024
"""Photos that are mirrored at once."""
_COARSE_BLURS = (1.1, 3.75)
"""Standard deviations of two blurs, pixels. Their difference is what the coarse correlation compares."""
_DETAIL_BLUR = 3.0
"""Standard deviation of the blur that is subtracted before the alignment, pixels."""
_ALIGNMENT_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 15, 1e-3)
_WHOLE = np.ones((SIDE, SIDE), np.uint8)
"""Mask of the alignment."""
_LARGEST_SHIFT = 0.2 * SIDE
_LARGEST_CHANGE = 0.25
"""Largest difference of the alignment's matrix from the identity: rotation, scale and shear."""


@dataclass(frozen=True)
class LookAlikeRule:
    """Whether two photos look alike."""

    dhash_bits: int = 16
    """Most differing bits of the difference hashes of a candidate."""
    phash_bits: int = 20
    """Most differing bits of the perceptual hashes of a candidate."""
    most_candidates: int = 128
    """Candidates that are compared, nearest hashes first: a bound of the time, far above the usual number."""
    min_coarse: float = 0.65
    """Least correlation before the alignment, -1…1."""
    most_alignments: int = 16
    """Candidates that are aligned, highest coarse correlation first."""
    min_correlation: float = 0.89
    """Least correlation after the alignment, -1…1."""

    def candidates(self, photo: Signature, hashes: Hashes) -> NDArray[np.intp]:
        """Indices of the candidates among `hashes`, nearest first. The mirrored photo is not considered."""
        found = [
            start + self._within(photo, hashes, start, start + _CHUNK) for start in range(0, len(hashes.dhash), _CHUNK)
        ]
        indices = np.concatenate(found) if found else np.empty(0, np.intp)
        order = np.argsort(_distances(photo, hashes, indices), kind="stable")
        return np.asarray(indices[order][: self.most_candidates], np.intp)

    def matches(
        self, photo: Signature, candidates: Sequence[Signature], labels: Sequence[Hashable] | None = None
    ) -> list[int]:
        """Indices of the candidates that look like the photo, best coarse correlation first.

        With `labels`, at most one index of each label: other candidates with its label are not compared.
        """
        if not candidates:
            return []
        copies = copies_of([photo, *candidates])
        bands = _bands(copies)
        coarse = bands[1:] @ bands[0]
        order = np.argsort(-coarse, kind="stable")
        likely = order[coarse[order] >= self.min_coarse].tolist()
        found: list[int] = []
        seen: set[Hashable] = set()
        alignments = 0
        for index in likely:
            label = labels[index] if labels is not None else index
            if label in seen or alignments == self.most_alignments:
                continue
            alignments += 1
            if _aligned_correlation(copies[0], copies[1 + index]) >= self.min_correlation:
                found.append(index)
                seen.add(label)
        return found

    def links(self, signatures: Sequence[Signature]) -> Iterator[tuple[int, int]]:
        """Index pairs that connect the look-alikes: each photo with earlier ones, one of each connected set."""
        hashes = _hashes(signatures)
        forest = _Forest(len(signatures))
        for index, views in enumerate(_views(signatures)):
            earlier = Hashes(hashes.dhash[:index], hashes.phash[:index])
            for view in views:
                near = self.candidates(view, earlier).tolist()
                roots = [forest.root(other) for other in near]
                for match in self.matches(view, [signatures[other] for other in near], roots):
                    forest.join(near[match], index)
                    yield near[match], index

    def _within(self, photo: Signature, hashes: Hashes, start: int, end: int) -> NDArray[np.intp]:
        """Indices of the candidates from `start` to `end`, relative to `start`."""
        distances = np.bitwise_count(hashes.dhash[start:end] ^ np.uint64(photo.dhash))
        near = np.flatnonzero(distances <= self.dhash_bits)
        phashes = hashes.phash[start:end][near]
        return np.asarray(near[np.bitwise_count(phashes ^ np.uint64(photo.phash)) <= self.phash_bits], np.intp)


RULE = LookAlikeRule()
"""The rule of the collector and of `savo prepare`."""


def _views(signatures: Sequence[Signature]) -> Iterator[tuple[Signature, Signature]]:
    """Each photo and its mirror image."""
    for start in range(0, len(signatures), _MIRRORED):
        photos = signatures[start : start + _MIRRORED]
        yield from zip(photos, mirrored(photos), strict=True)


def _hashes(signatures: Sequence[Signature]) -> Hashes:
    dhashes = np.fromiter((signature.dhash for signature in signatures), np.uint64, len(signatures))
    phashes = np.fromiter((signature.phash for signature in signatures), np.uint64, len(signatures))
    return Hashes(dhashes, phashes)


def _distances(photo: Signature, hashes: Hashes, indices: NDArray[np.intp]) -> NDArray[np.int64]:
    """Differing bits of both hashes together."""
    dhash = np.bitwise_count(hashes.dhash[indices] ^ np.uint64(photo.dhash)).astype(np.int64)
    return np.asarray(dhash + np.bitwise_count(hashes.phash[indices] ^ np.uint64(photo.phash)), np.int64)


def _bands(copies: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Copies between two blurs, as vectors of mean 0 and length 1; a copy without contrast is the zero vector."""
    values = copies.astype(np.float32)
    narrow, wide = (_blur(sigma) for sigma in _COARSE_BLURS)
    band = (narrow @ values @ narrow.T - wide @ values @ wide.T).reshape(len(copies), -1)
    band -= band.mean(axis=1, keepdims=True)
    length = np.linalg.norm(band, axis=1, keepdims=True)
    return np.asarray(np.divide(band, length, out=np.zeros_like(band), where=length > 1e-3), np.float32)


@cache
def _blur(sigma: float) -> NDArray[np.float32]:
    """Matrix of a Gaussian blur: SIDE × SIDE."""
    distance = np.subtract.outer(np.arange(SIDE), np.arange(SIDE))
    weights = np.exp(-0.5 * (distance / sigma) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _aligned_correlation(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Correlation of details after the best affine alignment of two copies; 0 where none is found."""
    identity = np.eye(2, 3, dtype=np.float32)
    try:
        correlation, transform = cv2.findTransformECC(
            _details(one), _details(other), identity, cv2.MOTION_AFFINE, _ALIGNMENT_STEPS, _WHOLE, 1
        )
    except cv2.error:  # the alignment does not converge
        return 0.0
    change = np.abs(np.asarray(transform) - np.eye(2, 3))
    is_small = change[:, :2].max() <= _LARGEST_CHANGE and change[:, 2].max() <= _LARGEST_SHIFT
    return float(correlation) if is_small else 0.0


def _details(copy: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = copy.astype(np.float32)
    return np.asarray(values - cv2.GaussianBlur(values, (0, 0), _DETAIL_BLUR), np.float32)


class _Forest:
    """Connected sets of photos."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, index: int) -> int:
        while self._parent[index] != index:
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index

    def join(self, one: int, other: int) -> None:
        self._parent[self.root(other)] = self.root(one)
