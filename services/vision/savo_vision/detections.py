"""Conversion of a model's boxes and a provider's items to detections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from savo_contracts.geometry import BoundingBox
from savo_contracts.ingredients import NormalisedName, normalise
from savo_contracts.scans import Alternative, Detection
from savo_detection.detector import DetectedBox
from savo_detection.output_decoders import LOWEST_LIKELIHOOD, MAX_ALTERNATIVES
from savo_providers.prices import NOTHING_USED, Usage

__all__ = ["MAX_ITEMS", "Answer", "RawAnswer", "box_confidences", "from_boxes", "parse_items"]

MAX_ITEMS = 200
"""More than any kitchen photo shows. Further items, from a model that repeats itself, are dropped."""

_MAX_QUANTITY = 10_000


@dataclass(frozen=True)
class RawAnswer:
    """A provider's answer, verbatim. It is stored so that a replay parses it by today's rules and costs nothing."""

    provider: str
    """Title of the provider, such as `Google`."""
    model: str
    prompt: str
    """Version of the prompt."""
    text: str


@dataclass(frozen=True)
class Answer:
    """A provider's detections, with the tokens used.

    `problems` counts parts of the answer that were dropped or replaced, by kind. The other parts are valid.
    """

    items: tuple[Detection, ...]
    usage: Usage = NOTHING_USED
    problems: Counter[str] = field(default_factory=Counter)
    model: str = ""
    """The model that answered, as the provider reports it; empty if unknown. It can differ from the requested one."""
    raw: RawAnswer | None = None


def from_boxes(boxes: Iterable[DetectedBox]) -> tuple[Detection, ...]:
    """Detections of the custom model. Its labels are those of the catalogue, and a box is one piece."""
    return tuple(_of_box(box) for box in boxes)


def box_confidences(items: Iterable[Detection]) -> list[float]:
    """Confidences of the items that have a box; a provider may list items without one."""
    return [item.confidence for item in items if item.bbox is not None]


def parse_items(rows: Iterable[Any]) -> tuple[tuple[Detection, ...], Counter[str]]:
    """Detections from a provider's list of rows, and counts of problems by kind.

    A row is {label, box_2d, confidence?, quantity?, alternatives?: [{label, likelihood}]}. An invalid box or
    alternative is dropped and its item kept. An item without a usable label is dropped. Nothing is guessed.
    """
    problems: Counter[str] = Counter()
    items: list[Detection] = []
    for row in rows:
        if len(items) == MAX_ITEMS:
            problems["too-many"] += 1
        elif (item := _of_row(row, problems)) is not None:
            items.append(item)
    return tuple(items), problems


def _of_box(box: DetectedBox) -> Detection:
    ingredient = _ingredient(box.label)
    return Detection(
        label=box.label[:80],
        name=ingredient.name if ingredient else box.label,
        confidence=box.confidence,
        bbox=box.bbox,
        quantity_estimate=1,
        storage_hint=ingredient.storage if ingredient else None,
        alternatives=tuple(_of_class(other.label, other.likelihood) for other in box.alternatives),
    )


def _of_class(label: str, likelihood: float) -> Alternative:
    ingredient = _ingredient(label)
    return Alternative(label=label[:80], name=ingredient.name if ingredient else label, likelihood=likelihood)


def _ingredient(class_label: str) -> NormalisedName | None:
    """None for a name without a letter, which a class list from elsewhere may contain. It still names the class."""
    try:
        return normalise(class_label)
    except ValueError:
        return None


def _of_row(row: Any, problems: Counter[str]) -> Detection | None:
    if not isinstance(row, dict):
        problems["no-item"] += 1
        return None
    try:
        name = normalise(str(row.get("label") or ""))
    except ValueError:
        problems["no-label"] += 1
        return None
    return Detection(
        label=name.label,
        name=name.name,
        confidence=_confidence(row.get("confidence"), problems),
        bbox=_box(row.get("box_2d"), problems),
        quantity_estimate=_quantity(row.get("quantity"), problems),
        storage_hint=name.storage,
        alternatives=_alternatives(row.get("alternatives"), name.label, problems),
    )


def _alternatives(rows: Any, own_label: str, problems: Counter[str]) -> tuple[Alternative, ...]:
    """The most likely alternatives, one for each label. The item's own label is none."""
    if rows is None:
        return ()
    found: dict[str, Alternative] = {}
    for row in rows if isinstance(rows, list) else [rows]:
        if (other := _alternative(row)) is None:
            problems["impossible-alternative"] += 1
        elif other.label != own_label and other.likelihood > LOWEST_LIKELIHOOD:
            found[other.label] = max(other, found.get(other.label, other), key=_likelihood)
    return tuple(sorted(found.values(), key=_likelihood, reverse=True)[:MAX_ALTERNATIVES])


def _alternative(row: Any) -> Alternative | None:
    try:
        ingredient = normalise(str(row["label"] or ""))
        return Alternative(label=ingredient.label, name=ingredient.name, likelihood=row["likelihood"])
    except (ValueError, TypeError, KeyError):
        return None


def _likelihood(alternative: Alternative) -> float:
    return alternative.likelihood


def _box(corners: Any, problems: Counter[str]) -> BoundingBox | None:
    if corners in (None, []):
        return None
    try:
        return BoundingBox.from_gemini([float(value) for value in corners])
    except (ValidationError, ValueError, TypeError, OverflowError):
        problems["impossible-box"] += 1
        return None


def _confidence(value: Any, problems: Counter[str]) -> float:
    if value is None:
        return 1.0
    if isinstance(value, int | float) and 0 <= value <= 1:
        return float(value)
    problems["impossible-confidence"] += 1
    return 1.0


def _quantity(value: Any, problems: Counter[str]) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and 0 < value <= _MAX_QUANTITY:
        return float(value)
    problems["impossible-quantity"] += 1
    return None
