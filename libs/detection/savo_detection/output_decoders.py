"""What a YOLO export's output means: two layouts, distinguished by metadata and shape.

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

__all__ = ["Candidates", "Head", "check_answer", "head_for"]

_ROUNDING = 0.05
"""By how much an int8 network's scores may lie outside 0…1."""
_ABSURD = 1e9
"""No score, class id or coordinate is so large, and areas of boxes below it can still be computed."""


@dataclass(frozen=True)
class Candidates:
    """Boxes of one photo: corners N × 4 in input pixels, scores N, class ids N; best first."""

    corners: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]


Head = Callable[[NDArray[np.float32], float, float, int], Candidates]
"""(output without the batch axis, confidence, iou, limit) → what is kept."""


def head_for(output_shape: tuple[int, ...], classes: int, end_to_end: bool | None) -> Head:
    """`output_shape` as the model really answers, `end_to_end` by metadata, None where that does not say.

    Raises `ModelRefusedError`.
    """
    rows_of_six = len(output_shape) == 3 and output_shape[2] == 6
    if rows_of_six and end_to_end is not False:
        return read_end_to_end
    if len(output_shape) == 3 and output_shape[1] == 4 + classes and end_to_end is not True:
        return read_raw
    expected = f"1 × {4 + classes} × N for {classes} classes, or 1 × N × 6 end to end"
    found = " × ".join(map(str, output_shape)) or "of a single number"
    raise ModelRefusedError(f"its output has the shape {found}; a detection model gives {expected}")


def check_answer(head: Head, output: NDArray[np.float32], classes: int) -> None:
    """Whether the answer to an empty picture is one that `head` can read. Raises `ModelRefusedError`."""
    _only_numbers(output)
    scores = output[4:] if head is read_raw else output[:, 4]
    least, most = float(scores.min(initial=0)), float(scores.max(initial=0))
    if least < -_ROUNDING or most > 1 + _ROUNDING:
        raise ModelRefusedError(
            f"its scores lie between {least:.2f} and {most:.2f} on an empty picture; a detection model gives 0 to 1"
        )
    if head is read_end_to_end and not _are_class_ids(output[:, 5], classes):
        raise ModelRefusedError(
            f"its sixth column holds no class ids (0 to {classes - 1}): it is no end-to-end model, or of other classes"
        )


def _are_class_ids(column: NDArray[np.float32], classes: int) -> bool:
    """-1 is how some exporters mark a row that holds nothing."""
    return bool(((column == np.round(column)) & (column >= -1) & (column < classes)).all())


def _only_numbers(values: NDArray[np.float32]) -> None:
    # NaN compares false with every threshold, so the test is for what is allowed.
    if not (np.abs(values) < _ABSURD).all():
        raise ModelRefusedError(
            "its output is not made of usable numbers: there are NaN, infinite or absurdly large values in it"
        )


def read_raw(output: NDArray[np.float32], confidence: float, iou: float, limit: int) -> Candidates:
    best = output[4:].max(axis=0)
    columns = np.flatnonzero(best > confidence)
    places = output[:4, columns]
    # The maximum of scores with a NaN among them is NaN, so checking the maxima checks all scores.
    _only_numbers(best)
    _only_numbers(places)
    class_ids = output[4:, columns].argmax(axis=0)
    corners = _corners(places.T)
    kept = suppress(corners, best[columns], class_ids, iou=iou, limit=limit)
    return Candidates(corners[kept], best[columns][kept], class_ids[kept])


def read_end_to_end(output: NDArray[np.float32], confidence: float, iou: float, limit: int) -> Candidates:
    """The network has suppressed boxes itself, so `iou` is not used."""
    _only_numbers(output)
    rows = output[output[:, 4] > confidence]
    rows = rows[np.argsort(-rows[:, 4], kind="stable")][:limit]
    return Candidates(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))


def _corners(centres: NDArray[np.float32]) -> NDArray[np.float32]:
    half = centres[:, 2:] / 2
    return np.concatenate((centres[:, :2] - half, centres[:, :2] + half), axis=1)
