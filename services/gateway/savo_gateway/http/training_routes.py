"""/training routes: statistics, progress, and the app's photos and corrections."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from savo_gateway.errors import GatewayError
from savo_gateway.figures.records import Progress, TrainingStats
from savo_gateway.figures.summaries import ShowProgress, ShowStats
from savo_gateway.http.dependencies import TrainingCaller, provided
from savo_gateway.http.problems import PROBLEM_RESPONSES
from savo_gateway.http.schemas import ConfirmationView, PhotoForm
from savo_gateway.http.upload_reader import UploadReader, parse_form, photo_body, without_empty
from savo_gateway.label_quality.corrections import ShowCorrections
from savo_gateway.label_quality.records import Corrections
from savo_gateway.owner_app.answers import app_message
from savo_gateway.owner_app.callers import AppTrainingCaller
from savo_gateway.owner_app.first.report import Report
from savo_gateway.owner_app.first.submissions import StoreReportedPhoto, SubmitReport

__all__ = ["TrainingUseCases", "router"]

router = APIRouter(prefix="/training", tags=["training"], responses=PROBLEM_RESPONSES)

MAX_DEVICE_INFO = 2000


@dataclass(frozen=True, kw_only=True)
class TrainingUseCases:
    """The use cases of these routes."""

    read_upload: UploadReader
    store_reported_photo: StoreReportedPhoto
    submit: SubmitReport
    stats: ShowStats
    progress: ShowProgress
    corrections: ShowCorrections


Training = Annotated[TrainingUseCases, provided(TrainingUseCases)]


class KeptPhotoView(BaseModel):
    """What became of a photo that the app sent, with the scan id for its corrections."""

    status: Literal["ok", "error"]
    image_hash: str = Field(description="SHA-256 of the photo as it was sent; empty where it was not accepted.")
    scan_id: str
    path: str = Field(description="Key in the object store; empty where no photo is kept.")
    stored: bool
    message: str


class SubmittedView(BaseModel):
    """What became of the app's corrections, with the confirmation that they are."""

    status: Literal["ok", "error"]
    scan_id: str = Field(description="As it was sent.")
    stored: bool = Field(description="Whether the photo may become a training sample.")
    message: str
    confirmation: ConfirmationView | None = None


@router.get("/stats", summary="The seven figures; always open")
async def show_stats(use: Training) -> TrainingStats:
    return await use.stats()


@router.get("/progress", summary="Every goal with its current figure, and whether it is on course")
async def show_progress(use: Training, _caller: TrainingCaller) -> Progress:
    return await use.progress()


@router.get("/corrections", summary="What people correct: from which label to which, by model version, with its trend")
async def show_corrections(
    use: Training,
    _caller: TrainingCaller,
    weeks: Annotated[int, Query(ge=2, le=104, description="ISO weeks, the current one included.")] = 8,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> Corrections:
    """A scan counts in the week in which it was answered, once for each of its items."""
    return await use.corrections(weeks=weeks, limit=limit)


@router.post("/upload-image", summary="Store a photo without scanning it", openapi_extra=photo_body(PhotoForm))
async def upload_image(request: Request, use: Training, caller: AppTrainingCaller) -> KeptPhotoView:
    """The fields may be in the form or in the query. A photo that is not accepted is a 200 with status error."""
    query = without_empty(request.query_params)
    form = parse_form(PhotoForm, query)
    try:
        upload = await use.read_upload(request)
        form = parse_form(PhotoForm, {**query, **upload.fields})
        sender = caller.sender(form.user_id, form.device_id)
        kept = await use.store_reported_photo(upload.photo, form.scan_id, sender.person)
    except GatewayError as error:
        return KeptPhotoView(
            status="error", image_hash="", scan_id=form.scan_id or "", path="", stored=False, message=app_message(error)
        )
    return KeptPhotoView(
        status="ok",
        image_hash=kept.image_hash,
        scan_id=kept.scan_id,
        path=kept.path,
        stored=kept.stored,
        message=kept.message,
    )


@router.post("/submit", summary="The app's corrections: a confirmation in its own form")
async def submit(report: Report, use: Training, caller: AppTrainingCaller) -> SubmittedView:
    """Corrections that fit no photo or scan are a 200 with status error."""
    try:
        done = await use.submit(report, caller.sender(report.user_id), _as_text(report.device_info))
    except GatewayError as error:
        return SubmittedView(status="error", scan_id=report.scan_id, stored=False, message=app_message(error))
    confirmation = ConfirmationView.of(done.scan.confirmation) if done.scan and done.scan.confirmation else None
    return SubmittedView(
        status="ok", scan_id=done.scan_id, stored=done.stored, message=done.message, confirmation=confirmation
    )


def _as_text(device_info: Any) -> str | None:
    if device_info is None:
        return None
    return (device_info if isinstance(device_info, str) else json.dumps(device_info))[:MAX_DEVICE_INFO]
