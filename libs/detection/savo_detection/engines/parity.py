"""Whether two engines find the same boxes in one picture, before any box is suppressed."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from savo_detection.engines.backends import Engine
from savo_detection.nms import iou_of
from savo_detection.output_decoders import Candidates, Head
from savo_detection.photos.decoding import Pixels

__all__ = [
    "CLOSELY",
    "EXACTLY",
    "ROUGHLY",
    "Nearness",
    "agree",
    "best_boxes",
    "busy_picture",
    "picture_tensor",
    "seen_by",
    "shows_anything",
]

_TOP = 50
"""Boxes of each output that are looked up in the other, by score and before NMS: any picture gives some."""
_DUST = 1e-4
"""A score so small that one engine may round it to 0, where the box is no box."""


class Nearness(NamedTuple):
    """How near two boxes must be to count as the same, and which share of an engine's surest boxes must be.

    `iou` at least or `pixels` between corners at most, and `score` apart at most.
    """

    iou: float
    pixels: float
    score: float
    share: float


CLOSELY = Nearness(0.95, 1.0, 0.01, 1.0)
EXACTLY = Nearness(0.999, 0.1, 0.001, 1.0)
"""For ONNX Runtime on a graph that was rewritten."""
ROUGHLY = Nearness(0.8, 4.0, 0.1, 0.8)
"""For an engine that is known to round: it must still be the same network."""


def seen_by(engine: Engine, tensor: NDArray[Any], head: Head) -> Candidates:
    """What the engine finds in one picture. Raises whatever its library raises."""
    return engine.run(tensor, lambda output: best_boxes(head, output))


def best_boxes(head: Head, output: NDArray[Any]) -> Candidates:
    return head(np.asarray(output[0], np.float32), 0.0, 1.0, 2 * _TOP)


def shows_anything(seen: Candidates) -> bool:
    """Without a box, agreement proves nothing."""
    return bool((seen.scores > _DUST).any())


def agree(ours: Candidates, theirs: Candidates, near: Nearness = CLOSELY) -> bool:
    """Whether each one's surest boxes are among the other's, with the same class, place and score."""
    return _holds(ours, theirs, near) and _holds(theirs, ours, near)


def _holds(some: Candidates, others: Candidates, near: Nearness) -> bool:
    surest = [index for index, score in enumerate(some.scores[:_TOP]) if score > _DUST]
    return sum(_is_among(some, index, others, near) for index in surest) >= near.share * len(surest)


def _is_among(some: Candidates, index: int, others: Candidates, near: Nearness) -> bool:
    corners = some.corners[index]
    placed = (iou_of(corners, others.corners) >= near.iou) | (
        np.abs(others.corners - corners).max(axis=1) <= near.pixels
    )
    return bool(
        (
            placed
            & (others.class_ids == some.class_ids[index])
            & (np.abs(others.scores - some.scores[index]) <= near.score)
        ).any()
    )


def picture_tensor(blank: NDArray[Any]) -> NDArray[Any]:
    """An input of `blank`'s shape (1 × 3 × height × width) and type, with something to find in it."""
    picture = busy_picture(blank.shape[2], blank.shape[3])
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None] / 255, blank.dtype)


def busy_picture(height: int, width: int) -> Pixels:
    """Coloured ellipses over a gradient, always the same."""
    draw = np.random.default_rng(7)
    ramp = np.linspace(60, 200, width, dtype=np.float32)
    picture = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (height, width, 3)).astype(np.uint8))
    for _ in range(24):
        centre = (int(draw.integers(width)), int(draw.integers(height)))
        axes = (int(draw.integers(4, max(5, width // 5))), int(draw.integers(4, max(5, height // 5))))
        cv2.ellipse(picture, centre, axes, float(draw.integers(180)), 0, 360, draw.integers(0, 256, 3).tolist(), -1)
    return picture
