"""Decoders of a YOLO export's output tensor. There are two layouts, distinguished by metadata and shape.

- raw (YOLOv8, YOLO11): 1 × (4 + classes) × N, centre and size in input pixels, a score for each class; needs NMS.
- end-to-end (YOLOv10, YOLO26, or exported with NMS inside): 1 × N × 6, corners in input pixels, score, class id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from savo_detection.errors import ModelRefusedError
from savo_detection.nms import suppress

__all__ = [
    "LOWEST_LIKELIHOOD",
    "MAX_ALTERNATIVES",
    "ClassScores",
    "OutputDecoder",
    "RawBoxes",
    "check_values",
    "decoder_for",
]

MAX_ALTERNATIVES = 3
"""Largest number of alternatives of a box."""
LOWEST_LIKELIHOOD = 0.05
"""Score that an alternative must exceed. Lower ones are noise: a network gives every class a score above 0."""

_ROUNDING = 0.05
"""Tolerance of scores outside 0…1, for int8 networks."""
_LIMIT = 1e9
"""Limit of scores, class ids and coordinates. Areas of boxes within it do not overflow float32."""


@dataclass(frozen=True)
class RawBoxes:
    """Boxes of one photo: corners N × 4 in input pixels, scores N, class ids N; best first."""

    corners: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    alternatives: Mapping[int, ClassScores] = field(default_factory=dict)
    """Other likely classes by the box's index, best first. Boxes without any are left out."""


ClassScores = tuple[tuple[int, float], ...]
"""Class ids with their scores."""

OutputDecoder = Callable[[NDArray[np.float32], float, float, int], RawBoxes]
"""(output without the batch axis, confidence, iou, limit) → boxes above `confidence`, at most `limit`."""


def decoder_for(output_shape: tuple[int, ...], classes: int, end_to_end: bool | None) -> OutputDecoder:
    """The decoder for an output of this shape.

    `output_shape`: of a real output, because declared shapes can be free. `end_to_end`: what the metadata declares, or
    None. Raises `ModelRefusedError` for another shape.
    """
    rows_of_six = len(output_shape) == 3 and output_shape[2] == 6
    if rows_of_six and end_to_end is not False:
        return decode_end_to_end
    if len(output_shape) == 3 and output_shape[1] == 4 + classes and end_to_end is not True:
        return decode_raw
    expected = f"1 × {4 + classes} × N for {classes} classes, or 1 × N × 6 end to end"
    found = " × ".join(map(str, output_shape)) or "of a single number"
    raise ModelRefusedError(f"its output has the shape {found}; a detection model gives {expected}")


def check_values(decoder: OutputDecoder, output: NDArray[np.float32], classes: int) -> None:
    """Check the output for an empty picture (without the batch axis). Raises `ModelRefusedError`."""
    _check_numbers(output)
    scores = output[4:] if decoder is decode_raw else output[:, 4]
    lowest, highest = float(scores.min(initial=0)), float(scores.max(initial=0))
    if lowest < -_ROUNDING or highest > 1 + _ROUNDING:
        raise ModelRefusedError(
            f"its scores are between {lowest:.2f} and {highest:.2f} on an empty picture; a detection model gives 0 to 1"
        )
    if decoder is decode_end_to_end and not _are_class_ids(output[:, 5], classes):
        raise ModelRefusedError(
            f"its sixth output column does not hold class ids (0 to {classes - 1}): "
            "it is not an end-to-end model, or its classes differ from its metadata"
        )


def _are_class_ids(column: NDArray[np.float32], classes: int) -> bool:
    # Some exporters mark an empty row by -1.
    return bool(((column == np.round(column)) & (column >= -1) & (column < classes)).all())


def _check_numbers(values: NDArray[np.float32]) -> None:
    # NaN compares false with every threshold, so the condition is written for valid values.
    if not (np.abs(values) < _LIMIT).all():
        raise ModelRefusedError(
            f"its output contains unusable numbers: NaN, infinite values, or values above {_LIMIT:g}"
        )


def decode_raw(output: NDArray[np.float32], confidence: float, iou: float, limit: int) -> RawBoxes:
    """Decode the raw layout, without its batch axis, with non-maximum suppression by class."""
    best = output[4:].max(axis=0)
    columns = np.flatnonzero(best > confidence)
    centres = output[:4, columns]
    # The maximum of scores that include NaN is NaN, so the check of the maxima covers all scores.
    _check_numbers(best)
    _check_numbers(centres)
    class_ids = output[4:, columns].argmax(axis=0)
    corners = _corners(centres.T)
    kept = suppress(corners, best[columns], class_ids, iou=iou, limit=limit)
    class_scores = output[4:, columns[kept]].T
    return RawBoxes(corners[kept], best[columns][kept], class_ids[kept], _other_classes(class_scores, class_ids[kept]))


def decode_end_to_end(output: NDArray[np.float32], confidence: float, iou: float, limit: int) -> RawBoxes:
    """Decode the end-to-end layout, without its batch axis. The network suppresses boxes itself: `iou` is unused."""
    _check_numbers(output)
    rows = output[output[:, 4] > confidence]
    rows = rows[np.argsort(-rows[:, 4], kind="stable")][:limit]
    return RawBoxes(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64), _other_rows(rows, output))


def _other_classes(class_scores: NDArray[np.float32], class_ids: NDArray[np.int64]) -> dict[int, ClassScores]:
    """Alternatives of boxes with a score for each class (boxes × classes) and the class ids that they have."""
    likely = class_scores > LOWEST_LIKELIHOOD
    likely[np.arange(len(class_ids)), class_ids] = False
    boxes, others = np.nonzero(likely)
    return _by_box(boxes, others, class_scores[boxes, others])


def _other_rows(rows: NDArray[np.float32], output: NDArray[np.float32]) -> dict[int, ClassScores]:
    """Alternatives of end-to-end boxes.

    The network ranks pairs of box and class, so another likely class of a box is another row with the same corners.
    Without such rows, as after an NMS inside the network, a box has no alternatives.
    """
    likely = output[output[:, 4] > LOWEST_LIKELIHOOD]
    # One corner is compared for all pairs of rows, the others only where it is equal.
    boxes, others = np.nonzero(rows[:, None, 0] == likely[None, :, 0])
    is_other = (rows[boxes, :4] == likely[others, :4]).all(axis=1) & (rows[boxes, 5] != likely[others, 5])
    boxes, others = boxes[is_other], others[is_other]
    return _by_box(boxes, likely[others, 5].astype(np.int64), likely[others, 4])


def _by_box(
    boxes: NDArray[np.intp], class_ids: NDArray[np.int64], scores: NDArray[np.float32]
) -> dict[int, ClassScores]:
    """The best classes of each box, from one entry for each pair of box and class."""
    found: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)
    for box, class_id, score in zip(boxes.tolist(), class_ids.tolist(), scores.tolist(), strict=True):
        found[box].append((class_id, score))
    return {box: tuple(sorted(classes, key=_score, reverse=True)[:MAX_ALTERNATIVES]) for box, classes in found.items()}


def _score(class_score: tuple[int, float]) -> float:
    return class_score[1]


def _corners(centres: NDArray[np.float32]) -> NDArray[np.float32]:
    half = centres[:, 2:] / 2
    return np.concatenate((centres[:, :2] - half, centres[:, :2] + half), axis=1)
