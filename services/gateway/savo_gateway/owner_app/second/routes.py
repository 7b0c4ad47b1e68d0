"""/api/scanning routes: the calls of the app's second generation."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from savo_gateway.http.dependencies import ScansCaller, find_visible, person_for, provided
from savo_gateway.http.problems import PROBLEM_RESPONSES
from savo_gateway.http.upload_reader import UploadReader, parse_form, photo_body
from savo_gateway.owner_app.second.analysis import AnalyzeImage, location_of
from savo_gateway.owner_app.second.confirmations import ConfirmItems, Feedback, GiveFeedback
from savo_gateway.owner_app.second.items import HIGH_CONFIDENCE, AnalyzedItem, ItemDecision, analyzed_items
from savo_gateway.ports import ScanStore
from savo_gateway.scans.records import SCAN_ID, Scan, ScanDetails, ScanUpload

__all__ = ["ScanningUseCases", "router"]

router = APIRouter(prefix="/api/scanning", tags=["app"], responses=PROBLEM_RESPONSES)


@dataclass(frozen=True, kw_only=True)
class ScanningUseCases:
    """The use cases of these routes."""

    read_upload: UploadReader
    analyze: AnalyzeImage
    confirm: ConfirmItems
    give_feedback: GiveFeedback
    scans: ScanStore


Scanning = Annotated[ScanningUseCases, provided(ScanningUseCases)]


class AnalysisForm(BaseModel):
    """Fields beside a photo."""

    scan_type: str | None = Field(default=None, max_length=40, description="pantry, fridge, counter, shopping, other.")
    location_hint: str | None = Field(default=None, max_length=200)


class AnalysisView(BaseModel):
    """The result of a scan in the app's form."""

    success: bool = True
    scan_id: str
    requires_confirmation: bool
    message: str
    metadata: dict[str, Any]
    ingredients: list[AnalyzedItem]

    @classmethod
    def of(cls, scan: Scan) -> Self:
        assert scan.result is not None
        items, result = analyzed_items(scan), scan.result
        return cls(
            scan_id=scan.scan_id,
            requires_confirmation=any(item.confidence < HIGH_CONFIDENCE for item in items),
            message=f"{len(items)} ingredient{'' if len(items) == 1 else 's'} found",
            metadata={
                "served_by": result.served_by,
                "model_version": result.model_version,
                "duration_ms": result.duration_ms,
            },
            ingredients=items,
        )


class ConfirmItemsRequest(BaseModel):
    """A person's decisions about the items of a scan."""

    model_config = ConfigDict(extra="ignore")

    scan_id: str = Field(pattern=SCAN_ID)
    confirmations: list[ItemDecision] = Field(max_length=300)


class ConfirmedItemsView(BaseModel):
    """Number of decisions that were applied, by action."""

    success: bool = True
    confirmed_count: int
    rejected_count: int
    modified_count: int
    pantry_items_added: list[Any] = Field(default_factory=list)
    message: str


class HistoryEntry(BaseModel):
    """A scan of the person."""

    scan_id: str
    status: str
    created_at: datetime
    confirmed: bool
    ingredients: list[AnalyzedItem]

    @classmethod
    def of(cls, scan: Scan) -> Self:
        return cls(
            scan_id=scan.scan_id,
            status=scan.status.value,
            created_at=scan.requested_at,
            confirmed=scan.confirmation is not None,
            ingredients=analyzed_items(scan),
        )


class HistoryView(BaseModel):
    """A person's scans, newest first."""

    scans: list[HistoryEntry]
    total_scans: int
    accuracy_stats: dict[str, Any] = Field(default_factory=dict)


class FeedbackView(BaseModel):
    success: bool = True
    message: str


@router.post("/analyze-image", summary="Scan a photo and wait for the result", openapi_extra=photo_body(AnalysisForm))
async def analyze_image(request: Request, use: Scanning, caller: ScansCaller) -> AnalysisView:
    """The same photo of the same person within ten minutes is the same scan, unless that one failed.

    503 when there is no result within 25 s.
    """
    started = asyncio.get_running_loop().time()
    sent = await use.read_upload(request)
    form = parse_form(AnalysisForm, sent.fields)
    details = ScanDetails(
        person=person_for(caller, None), storage_location=location_of(form.scan_type, form.location_hint)
    )
    upload = ScanUpload(data=sent.photo, details=details, caller=caller.name)
    return AnalysisView.of(await use.analyze(upload, started))


@router.post("/confirm-ingredients", summary="Confirm, rename or remove items")
async def confirm_ingredients(request: ConfirmItemsRequest, use: Scanning, caller: ScansCaller) -> ConfirmedItemsView:
    """Unknown ids are skipped. Items that are not listed are undecided."""
    scan = await find_visible(use.scans, caller, request.scan_id)
    counts = await use.confirm(scan, request.confirmations)
    total = sum(counts.values())
    return ConfirmedItemsView(
        confirmed_count=counts.get("confirmed", 0),
        rejected_count=counts.get("rejected", 0),
        modified_count=counts.get("modified", 0),
        message=f"{total} item{'' if total == 1 else 's'} saved",
    )


@router.get("/history", summary="The person's scans, newest first")
async def show_history(
    use: Scanning,
    caller: ScansCaller,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> HistoryView:
    person = person_for(caller, None)
    scans, total = await use.scans.history(person, limit=limit, offset=offset) if person else ([], 0)
    return HistoryView(scans=[HistoryEntry.of(scan) for scan in scans], total_scans=total)


@router.post("/feedback", summary="Corrections, ratings and comments")
async def give_feedback(feedback: Feedback, use: Scanning, caller: ScansCaller) -> FeedbackView:
    scan = await find_visible(use.scans, caller, feedback.scan_id)
    applied = await use.give_feedback(scan, feedback)
    return FeedbackView(
        message="thank you" if applied else "the feedback was stored; it names no item of this scan and no new name"
    )
