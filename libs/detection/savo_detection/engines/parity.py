"""Parity of two engines: whether they find the same boxes in a picture, compared before non-maximum suppression."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from savo_detection.engines.backends import Engine
from savo_detection.nms import iou_of
from savo_detection.output_decoders import OutputDecoder, RawBoxes
from savo_detection.photos.decoding import Pixels

__all__ = [
    "CLOSE_MATCH",
    "EXACT_MATCH",
    "ROUGH_MATCH",
    "Tolerance",
    "candidates_match",
    "find_candidates",
    "has_boxes",
    "synthetic_picture",
    "synthetic_tensor",
    "top_candidates",
]

_TOP = 50
"""Number of boxes with the highest scores that are compared. Before NMS every picture has some."""
_NEGLIGIBLE_SCORE = 1e-4
"""Scores up to this are ignored: an engine may round them to 0, so that the other has no such box."""


class Tolerance(NamedTuple):
    """Limits within which two boxes, and the boxes of two engines, count as the same.

    Two boxes of a class match when their IoU is at least `iou` or their corners differ by at most `pixels`, and their
    scores differ by at most `score`. Two engines match when at least `share` of each engine's best boxes match.
    """

    iou: float
    pixels: float
    score: float
    share: float


CLOSE_MATCH = Tolerance(0.95, 1.0, 0.01, 1.0)
EXACT_MATCH = Tolerance(0.999, 0.1, 0.001, 1.0)
"""For ONNX Runtime with an optimised graph."""
ROUGH_MATCH = Tolerance(0.8, 4.0, 0.1, 0.8)
"""For an engine of reduced precision."""


def find_candidates(engine: Engine, tensor: NDArray[Any], decoder: OutputDecoder) -> RawBoxes:
    """The engine's best boxes in a picture, before NMS. Raises the errors of the engine's library."""
    return engine.run(tensor, lambda output: top_candidates(decoder, output))


def top_candidates(decoder: OutputDecoder, output: NDArray[Any]) -> RawBoxes:
    """The best boxes of the first picture of an output, before NMS."""
    return decoder(np.asarray(output[0], np.float32), 0.0, 1.0, 2 * _TOP)


def has_boxes(candidates: RawBoxes) -> bool:
    """Whether there is a box to compare: without any, a match proves nothing."""
    return bool((candidates.scores > _NEGLIGIBLE_SCORE).any())


def candidates_match(first: RawBoxes, second: RawBoxes, tolerance: Tolerance = CLOSE_MATCH) -> bool:
    """Whether the best boxes of each are among the other's, within the tolerance."""
    return _contains(second, first, tolerance) and _contains(first, second, tolerance)


def _contains(candidates: RawBoxes, others: RawBoxes, tolerance: Tolerance) -> bool:
    """Whether the best boxes of `others` are among `candidates`."""
    best = [index for index, score in enumerate(others.scores[:_TOP]) if score > _NEGLIGIBLE_SCORE]
    found = sum(_contains_box(candidates, others, index, tolerance) for index in best)
    return found >= tolerance.share * len(best)


def _contains_box(candidates: RawBoxes, others: RawBoxes, index: int, tolerance: Tolerance) -> bool:
    corners = others.corners[index]
    overlaps = iou_of(corners, candidates.corners) >= tolerance.iou
    is_near = np.abs(candidates.corners - corners).max(axis=1) <= tolerance.pixels
    same_class = candidates.class_ids == others.class_ids[index]
    same_score = np.abs(candidates.scores - others.scores[index]) <= tolerance.score
    return bool(((overlaps | is_near) & same_class & same_score).any())


def synthetic_tensor(blank: NDArray[Any]) -> NDArray[Any]:
    """A synthetic picture as an input of `blank`'s shape (1 × 3 × height × width) and type."""
    picture = synthetic_picture(blank.shape[2], blank.shape[3])
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None] / 255, blank.dtype)


def synthetic_picture(height: int, width: int) -> Pixels:
    """Coloured ellipses on a gradient. The same size gives the same picture."""
    rng = np.random.default_rng(7)
    ramp = np.linspace(60, 200, width, dtype=np.float32)
    picture = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (height, width, 3)).astype(np.uint8))
    for _ in range(24):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(4, max(5, width // 5))), int(rng.integers(4, max(5, height // 5))))
        cv2.ellipse(picture, centre, axes, float(rng.integers(180)), 0, 360, rng.integers(0, 256, 3).tolist(), -1)
    return picture
