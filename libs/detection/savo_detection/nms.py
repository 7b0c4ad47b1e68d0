"""Greedy non-maximum suppression, class by class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["iou_of", "suppress"]


def iou_of(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU of a box (x1, y1, x2, y2) with each of N × 4 other boxes."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    shared = np.clip(width, 0, None) * np.clip(height, 0, None)
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    union = (box[2] - box[0]) * (box[3] - box[1]) + areas - shared
    result: NDArray[np.float32] = shared / np.maximum(union, 1e-9)
    return result


def suppress(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], class_ids: NDArray[np.int64], *, iou: float, limit: int
) -> NDArray[np.intp]:
    """Indices of the boxes (N × 4 corners) to keep, best score first, at most `limit`.

    A box is dropped when a box of its class with a higher score (or an equal score and a lower index) overlaps it by
    more than `iou`. Class ids are compared directly: the usual offset in the coordinates costs float32 precision.
    """
    remaining = np.argsort(-scores, kind="stable")
    kept: list[np.intp] = []
    while remaining.size and len(kept) < limit:
        best, rest = remaining[0], remaining[1:]
        kept.append(best)
        overlapping = (iou_of(boxes[best], boxes[rest]) > iou) & (class_ids[rest] == class_ids[best])
        remaining = rest[~overlapping]
    return np.asarray(kept, np.intp)
