"""Items of a scan as the app knows them: their ids, the answer to a scan, and corrections of single items."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from savo_contracts.envelope import named_id
from savo_contracts.geometry import BoundingBox
from savo_contracts.ingredients import CATALOGUE
from savo_contracts.scans import Action, Alternative, Detection
from savo_gateway.confirmations.records import ItemEdit, canonical_label
from savo_gateway.errors import InvalidRequestError
from savo_gateway.scans.records import Scan

__all__ = [
    "HIGH_CONFIDENCE",
    "AnalyzedItem",
    "DetectedItem",
    "ItemDecision",
    "analyzed_items",
    "detected_items",
    "kept",
    "removed",
    "renamed",
]

HIGH_CONFIDENCE = 0.80
MEDIUM_CONFIDENCE = 0.50

_PIECES = frozenset({"", "pc", "pcs", "piece", "pieces", "count", "item", "items", "whole", "unit", "units", "x"})
"""Units in which a quantity is a number of pieces, as the product counts."""

MAX_PIECES = 10_000


class DetectedItem(BaseModel):
    """An item of a scan's result, with the id by which the app names it."""

    model_config = ConfigDict(frozen=True)

    id: str
    detection: Detection

    @property
    def label(self) -> str:
        return canonical_label(self.detection.label)


class CloseAlternative(BaseModel):
    """Another name that the detector found likely."""

    name: str
    likelihood: float
    reason: str


class AnalyzedItem(BaseModel):
    """An item in the app's form."""

    id: str
    detected_name: str
    canonical_name: str
    confidence: float
    confidence_category: Literal["high", "medium", "low"]
    category: str
    quantity: float | None
    unit: str | None
    quantity_confidence: float | None = None
    quantity_source: str | None = None
    close_alternatives: list[CloseAlternative] = Field(default_factory=list)
    visual_similarity_group: str | None = None
    allergen_warnings: list[str] = Field(default_factory=list)
    bbox: BoundingBox | None
    confirmation_status: str = "pending"


class ItemDecision(BaseModel):
    """What the person decided about one item."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    detected_id: str = Field(max_length=100)
    action: Literal["confirmed", "rejected", "modified"]
    confirmed_name: str | None = Field(default=None, max_length=120)
    quantity: Any = None
    unit: str | None = Field(default=None, max_length=40)

    def edit_of(self, item: DetectedItem) -> ItemEdit:
        """Raises `InvalidRequestError` for a name without a letter."""
        if self.action == "rejected":
            return removed(item)
        name, pieces = (self.confirmed_name or "").strip(), _pieces(self.quantity, self.unit)
        return renamed(item, name, pieces) if name else kept(item, pieces)


def detected_items(scan: Scan) -> list[DetectedItem]:
    """Items of the scan's result. Their ids are derived from their place, which never changes."""
    detections = scan.result.items if scan.result else ()
    return [
        DetectedItem(id=str(named_id(f"item/{scan.scan_id}/{place}")), detection=detection)
        for place, detection in enumerate(detections)
    ]


def analyzed_items(scan: Scan) -> list[AnalyzedItem]:
    return [_analyzed(item) for item in detected_items(scan)]


def kept(item: DetectedItem, pieces: float | None = None) -> ItemEdit:
    return ItemEdit(label=item.label, action=Action.KEPT, bbox=item.detection.bbox, quantity_estimate=pieces)


def removed(item: DetectedItem) -> ItemEdit:
    return ItemEdit(label=item.label, action=Action.REMOVED, bbox=item.detection.bbox)


def renamed(item: DetectedItem, name: str, pieces: float | None = None) -> ItemEdit:
    """The item under another name, or kept where the name means the same. Raises `InvalidRequestError`."""
    try:
        label = canonical_label(name)
    except ValueError as error:
        raise InvalidRequestError("confirmed_name", str(error)) from error
    if label == item.label:
        return kept(item, pieces)
    return ItemEdit(
        label=label,
        action=Action.RENAMED,
        from_label=item.label,
        bbox=item.detection.bbox,
        quantity_estimate=pieces,
    )


def _analyzed(item: DetectedItem) -> AnalyzedItem:
    detection, known = item.detection, CATALOGUE.get(item.label)
    return AnalyzedItem(
        id=item.id,
        detected_name=detection.name,
        canonical_name=item.label.replace("_", " "),
        confidence=detection.confidence,
        confidence_category=_category(detection.confidence),
        category=known.category if known else "other",
        quantity=detection.quantity_estimate,
        unit="pcs" if detection.quantity_estimate else None,
        close_alternatives=[_alternative(alternative) for alternative in detection.alternatives],
        bbox=detection.bbox,
    )


def _alternative(alternative: Alternative) -> CloseAlternative:
    return CloseAlternative(
        name=alternative.name,
        likelihood=alternative.likelihood,
        reason="another class that the detector found likely",
    )


def _category(confidence: float) -> Literal["high", "medium", "low"]:
    if confidence >= HIGH_CONFIDENCE:
        return "high"
    return "medium" if confidence >= MEDIUM_CONFIDENCE else "low"


def _pieces(quantity: Any, unit: str | None) -> float | None:
    """A number of pieces; None for weights, volumes and free text, which the product does not store."""
    if (unit or "").strip().lower() not in _PIECES:
        return None
    try:
        number = float(quantity)
    except (TypeError, ValueError):
        return None
    return number if 0 < number <= MAX_PIECES else None
