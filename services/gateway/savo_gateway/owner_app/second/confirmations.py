"""POST confirm-ingredients and feedback of /api/scanning: decisions about items become a confirmation of the scan.

Items that no decision names are undecided: they are in no event, and the sample is not exhaustive.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from savo_gateway.confirmations.confirmation import ConfirmScan
from savo_gateway.confirmations.records import ConfirmationRequest, ItemEdit, canonical_label
from savo_gateway.errors import ScanFailedError, ScanNotCompletedError
from savo_gateway.owner_app.second.items import DetectedItem, ItemDecision, detected_items, removed, renamed
from savo_gateway.ports import FeedbackStore
from savo_gateway.scans.records import SCAN_ID, Scan, ScanStatus

__all__ = ["ConfirmItems", "Feedback", "FeedbackType", "GiveFeedback"]

MAX_COMMENT = 5000
_NO_NUL = r"^[^\x00]*$"
"""PostgreSQL stores no NUL."""


class FeedbackType(StrEnum):
    CORRECTION = "correction"
    MISSING = "missing"
    FALSE_POSITIVE = "false_positive"
    RATING = "rating"
    COMMENT = "comment"


class Feedback(BaseModel):
    """The body of POST /api/scanning/feedback."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    scan_id: str = Field(pattern=SCAN_ID)
    feedback_type: FeedbackType
    detected_id: str | None = Field(default=None, max_length=100, pattern=_NO_NUL)
    detected_name: str | None = Field(default=None, max_length=120, pattern=_NO_NUL)
    correct_name: str | None = Field(default=None, max_length=120, pattern=_NO_NUL)
    overall_rating: float | None = Field(default=None, ge=0, le=10)
    accuracy_rating: float | None = Field(default=None, ge=0, le=10)
    speed_rating: float | None = Field(default=None, ge=0, le=10)
    comment: str | None = Field(default=None, max_length=MAX_COMMENT, pattern=_NO_NUL)


@dataclass(frozen=True)
class ConfirmItems:
    """Turns decisions about items into a confirmation."""

    confirm: ConfirmScan
    feedback: FeedbackStore

    async def __call__(self, scan: Scan, decisions: Sequence[ItemDecision]) -> Mapping[str, int]:
        """Number of decisions by action. Decisions about unknown ids are skipped.

        Raises `ScanFailedError`, `ScanNotCompletedError`, `InvalidRequestError`.
        """
        _require_result(scan)
        items = {item.id: item for item in detected_items(scan)}
        newest = {decision.detected_id: decision for decision in decisions if decision.detected_id in items}
        await self.apply(scan, [decision.edit_of(items[item_id]) for item_id, decision in newest.items()])
        return Counter(decision.action for decision in newest.values())

    async def apply(self, scan: Scan, edits: Sequence[ItemEdit]) -> None:
        if edits:
            nothing_missing = not await self.feedback.reports_missing(scan.scan_id)
            request = ConfirmationRequest(items=tuple(edits), nothing_missing=nothing_missing)
            await self.confirm(scan.scan_id, request)


@dataclass(frozen=True)
class GiveFeedback:
    """Stores feedback, and applies what it says about items."""

    confirm_items: ConfirmItems
    feedback: FeedbackStore
    clock: Callable[[], datetime]

    async def __call__(self, scan: Scan, feedback: Feedback) -> bool:
        """Whether the feedback was about an item of the scan, or about the scan as a whole.

        Raises `ScanFailedError`, `ScanNotCompletedError`, `InvalidRequestError`.
        """
        if feedback.feedback_type in (FeedbackType.CORRECTION, FeedbackType.FALSE_POSITIVE):
            return await self._about_an_item(scan, feedback)
        await self._store(scan, feedback)
        if feedback.feedback_type is FeedbackType.MISSING and scan.confirmation is not None:
            # A published confirmation is published again, as not exhaustive.
            await self.confirm_items.confirm(scan.scan_id, ConfirmationRequest(items=(), nothing_missing=False))
        return True

    async def _about_an_item(self, scan: Scan, feedback: Feedback) -> bool:
        _require_result(scan)
        item = _item_of(scan, feedback)
        edit = _edit(item, feedback) if item else None
        await self._store(scan, feedback)
        await self.confirm_items.apply(scan, [edit] if edit else [])
        return edit is not None

    async def _store(self, scan: Scan, feedback: Feedback) -> None:
        content = feedback.model_dump(mode="json", exclude={"scan_id", "feedback_type"}, exclude_none=True)
        await self.feedback.add_feedback(scan, feedback.feedback_type.value, content, self.clock())


def _require_result(scan: Scan) -> None:
    if scan.status is ScanStatus.FAILED:
        raise ScanFailedError(scan.scan_id, scan.error.code if scan.error else "failed")
    if scan.result is None:
        raise ScanNotCompletedError(scan.scan_id)


def _item_of(scan: Scan, feedback: Feedback) -> DetectedItem | None:
    """The item by its id or, without one, the first by its name."""
    items = detected_items(scan)
    if feedback.detected_id:
        return next((item for item in items if item.id == feedback.detected_id), None)
    try:
        label = canonical_label(feedback.detected_name or "")
    except ValueError:
        return None
    return next((item for item in items if item.label == label), None)


def _edit(item: DetectedItem, feedback: Feedback) -> ItemEdit | None:
    if feedback.feedback_type is FeedbackType.FALSE_POSITIVE:
        return removed(item)
    name = (feedback.correct_name or "").strip()
    return renamed(item, name) if name else None
