"""/training routes: statistics, progress, and the app's legacy API for photos and corrections."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from savo_gateway.figures.records import Progress, TrainingStats
from savo_gateway.figures.summaries import ShowProgress, ShowStats
from savo_gateway.http.dependencies import TrainingCaller, find_visible, person_for, provided
from savo_gateway.http.problems import PROBLEM_RESPONSES
from savo_gateway.http.schemas import ConfirmationView, PhotoForm
from savo_gateway.http.upload_reader import UploadReader, parse_form, photo_body
from savo_gateway.owner_app.first.submissions import Report, StoreReportedPhoto, SubmitReport
from savo_gateway.ports import ScanStore

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
    scans: ScanStore


Training = Annotated[TrainingUseCases, provided(TrainingUseCases)]


class KeptPhotoView(BaseModel):
    """A stored photo, with the scan id for its corrections."""

    status: str
    image_hash: str
    scan_id: str
    path: str


class SubmittedView(BaseModel):
    """An accepted report, with its confirmation."""

    status: str
    scan_id: str
    confirmation: ConfirmationView | None


@router.get("/stats", summary="The seven figures; always open")
async def show_stats(use: Training) -> TrainingStats:
    return await use.stats()


@router.get("/progress", summary="Every goal with its current figure, and whether it is on course")
async def show_progress(use: Training, _caller: TrainingCaller) -> Progress:
    return await use.progress()


@router.post("/upload-image", summary="Store a photo without scanning it", openapi_extra=photo_body(PhotoForm))
async def upload_image(request: Request, use: Training, caller: TrainingCaller) -> KeptPhotoView:
    upload = await use.read_upload(request)
    form = parse_form(PhotoForm, upload.fields)
    person = person_for(caller, form.user_id, form.device_id)
    scan_id, image = await use.store_reported_photo(upload.photo, form.scan_id, person)
    return KeptPhotoView(status="stored", image_hash=image.sha256, scan_id=scan_id, path=image.key)


@router.post("/submit", summary="Corrections in the app's legacy format", status_code=202)
async def submit(report: Report, use: Training, caller: TrainingCaller) -> SubmittedView:
    person = person_for(caller, report.user_id)
    if await use.scans.find(report.scan_id):
        await find_visible(use.scans, caller, report.scan_id)
    scan = await use.submit(report, person, _as_text(report.device_info))
    confirmation = ConfirmationView.of(scan.confirmation) if scan.confirmation else None
    return SubmittedView(status="accepted", scan_id=scan.scan_id, confirmation=confirmation)


def _as_text(device_info: Any) -> str | None:
    if device_info is None:
        return None
    return (device_info if isinstance(device_info, str) else json.dumps(device_info))[:MAX_DEVICE_INFO]
