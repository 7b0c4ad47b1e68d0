"""What a YOLO export's output means: two layouts, told apart by metadata and shape.

- raw (YOLOv8, YOLO11): 1 × (4 + classes) × N, box as centre and size in input pixels, one score a class; needs NMS.
- end-to-end (YOLOv10, YOLO26, or exported with NMS inside): 1 × N × 6, corners in input pixels, score, class id.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from savo_detection.errors import ModelRefusedError
from savo_detection.nms import suppress

__all__ = ["Candidates", "Head", "head_for"]


@dataclass(frozen=True)
class Candidates:
    """Boxes of one photo: corners N × 4 in input pixels, scores N, class ids N; best first."""

    corners: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]


Head = Callable[[NDArray[np.float32], float, float, int], Candidates]
"""(output without the batch axis, confidence, iou, limit) → what is kept."""


def head_for(output_shape: tuple[int, ...], classes: int, end_to_end: bool | None) -> Head:
    """`output_shape` as the model really answers, `end_to_end` by metadata where it says so. Raises `ModelRefusedError`."""
    rows_of_six = len(output_shape) == 3 and output_shape[2] == 6
    if rows_of_six and end_to_end is not False:
        return read_end_to_end
    if len(output_shape) == 3 and output_shape[1] == 4 + classes and end_to_end is not True:
        return read_raw
    expected = f"1 × {4 + classes} × N for {classes} classes, or 1 × N × 6 end to end"
    raise ModelRefusedError(f"its output has the shape {' × '.join(map(str, output_shape))}; a detection model gives {expected}")


def read_raw(output: NDArray[np.float32], confidence: float, iou: float, limit: int) -> Candidates:
    best = output[4:].max(axis=0)
    columns = np.flatnonzero(best > confidence)
    class_ids = output[4:, columns].argmax(axis=0)
    corners = _corners(output[:4, columns].T)
    kept = suppress(corners, best[columns], class_ids, iou=iou, limit=limit)
    return Candidates(corners[kept], best[columns][kept], class_ids[kept])


def read_end_to_end(output: NDArray[np.float32], confidence: float, iou: float, limit: int) -> Candidates:
    """The network chose already: `iou` has nothing to do here."""
    rows = output[output[:, 4] > confidence]
    rows = rows[np.argsort(-rows[:, 4], kind="stable")][:limit]
    return Candidates(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))


def _corners(centres: NDArray[np.float32]) -> NDArray[np.float32]:
    half = centres[:, 2:] / 2
    return np.concatenate((centres[:, :2] - half, centres[:, :2] + half), axis=1)
