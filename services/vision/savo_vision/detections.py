"""One detection schema for every detector, whatever it saw the photo with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from savo_contracts.geometry import BoundingBox
from savo_contracts.ingredients import normalise
from savo_contracts.scans import Detection
from savo_detection.model import DetectedBox
from savo_providers.prices import NOTHING_USED, Usage

__all__ = ["MAX_ITEMS", "Answer", "RawAnswer", "box_confidences", "from_boxes", "read_items"]

MAX_ITEMS = 200
"""More than any kitchen photo shows: a model that repeats itself is cut here."""

_MAX_QUANTITY = 10_000


@dataclass(frozen=True)
class RawAnswer:
    """A provider's own words, kept so that a replay reads them by today's rules and pays nothing."""

    provider: str
    model: str
    prompt: str
    """Version of the prompt that they answer."""
    text: str


@dataclass(frozen=True)
class Answer:
    """What a provider saw. `flaws` counts what was wrong with it, by kind: the rest of the answer is still good."""

    items: tuple[Detection, ...]
    usage: Usage = NOTHING_USED
    flaws: Counter[str] = field(default_factory=Counter)
    model: str = ""
    """Who answered, in the provider's own words where it says so: a stand-in does not pass for the model that was asked."""
    raw: RawAnswer | None = None


def from_boxes(boxes: Iterable[DetectedBox]) -> tuple[Detection, ...]:
    """Our own model's labels are the catalogue's already; a box is one piece."""
    return tuple(_of_box(box) for box in boxes)


def box_confidences(items: Iterable[Detection]) -> list[float]:
    """Of the items with a box: a provider may name things without one."""
    return [item.confidence for item in items if item.bbox is not None]


def read_items(rows: Iterable[Any]) -> tuple[tuple[Detection, ...], Counter[str]]:
    """A provider's list of {label, box_2d, confidence?, quantity?} → detections, and counts of flaws by kind.

    An impossible box is dropped and its item kept; an item without a readable label is dropped. Nothing is repaired by guessing.
    """
    flaws: Counter[str] = Counter()
    items: list[Detection] = []
    for row in rows:
        if len(items) == MAX_ITEMS:
            flaws["too-many"] += 1
        elif (item := _of_row(row, flaws)) is not None:
            items.append(item)
    return tuple(items), flaws


def _of_box(box: DetectedBox) -> Detection:
    try:
        name = normalise(box.label)
    except ValueError:
        # A class list made elsewhere may hold names without a letter; the label still stands for its class.
        return Detection(
            label=box.label[:80], name=box.label, confidence=box.confidence, bbox=box.bbox, quantity_estimate=1
        )
    return Detection(
        label=box.label[:80],
        name=name.name,
        confidence=box.confidence,
        bbox=box.bbox,
        quantity_estimate=1,
        storage_hint=name.storage,
    )


def _of_row(row: Any, flaws: Counter[str]) -> Detection | None:
    if not isinstance(row, dict):
        flaws["no-item"] += 1
        return None
    try:
        name = normalise(str(row.get("label") or ""))
    except ValueError:
        flaws["no-label"] += 1
        return None
    return Detection(
        label=name.label,
        name=name.name,
        confidence=_confidence(row.get("confidence"), flaws),
        bbox=_box(row.get("box_2d"), flaws),
        quantity_estimate=_quantity(row.get("quantity"), flaws),
        storage_hint=name.storage,
    )


def _box(corners: Any, flaws: Counter[str]) -> BoundingBox | None:
    if corners in (None, []):
        return None
    try:
        return BoundingBox.from_gemini([float(value) for value in corners])
    except (ValidationError, ValueError, TypeError, OverflowError):
        flaws["impossible-box"] += 1
        return None


def _confidence(value: Any, flaws: Counter[str]) -> float:
    if value is None:
        return 1.0
    if isinstance(value, int | float) and 0 <= value <= 1:
        return float(value)
    flaws["impossible-confidence"] += 1
    return 1.0


def _quantity(value: Any, flaws: Counter[str]) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and 0 < value <= _MAX_QUANTITY:
        return float(value)
    flaws["impossible-quantity"] += 1
    return None
