"""/training: how much there is to learn from, and the app's older way to add to it."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from savo_gateway.confirmations.submissions import Report
from savo_gateway.errors import UploadRefusedError
from savo_gateway.figures.summaries import Progress, TrainingStats
from savo_gateway.http.bodies import form_of
from savo_gateway.http.dependencies import TheGateway, TrainingCaller, find_visible, person_for
from savo_gateway.http.problems import PROBLEM_RESPONSES
from savo_gateway.http.scan_routes import photo_body, receive_photo
from savo_gateway.http.shapes import ConfirmationView, PhotoForm

__all__ = ["router"]

router = APIRouter(prefix="/training", tags=["training"], responses=PROBLEM_RESPONSES)

MAX_DEVICE_INFO = 2000


class KeptPhotoView(BaseModel):
    status: str
    image_hash: str
    scan_id: str
    path: str


class SubmittedView(BaseModel):
    status: str
    scan_id: str
    confirmation: ConfirmationView | None


@router.get("/stats", summary="The seven figures; always open")
async def show_stats(gateway: TheGateway) -> TrainingStats:
    return await gateway.stats()


@router.get("/progress", summary="Every goal: where we are, and whether that is on course")
async def show_progress(gateway: TheGateway, _caller: TrainingCaller) -> Progress:
    return await gateway.progress()


@router.post("/upload-image", summary="Keep a photo without scanning it", openapi_extra=photo_body(PhotoForm))
async def upload_image(request: Request, gateway: TheGateway, caller: TrainingCaller) -> KeptPhotoView:
    received = await receive_photo(request, gateway)
    form = form_of(PhotoForm, received.fields)
    try:
        scan_id, image = await gateway.keep_photo(received.photo, form.scan_id, person_for(caller, form.user_id, form.device_id))
    except UploadRefusedError as refusal:
        await gateway.figures.count_refused_upload(refusal.flaw.value)
        raise
    return KeptPhotoView(status="stored", image_hash=image.sha256, scan_id=scan_id, path=image.key)


@router.post("/submit", summary="Corrections in the app's older form", status_code=202)
async def submit(report: Report, gateway: TheGateway, caller: TrainingCaller) -> SubmittedView:
    person = person_for(caller, report.user_id)
    if await gateway.scans.find(report.scan_id):
        await find_visible(gateway, caller, report.scan_id)
    scan = await gateway.submit(report, person, _as_text(report.device_info))
    return SubmittedView(status="accepted", scan_id=scan.scan_id, confirmation=ConfirmationView.of(scan.confirmation) if scan.confirmation else None)


def _as_text(device_info: Any) -> str | None:
    if device_info is None:
        return None
    return (device_info if isinstance(device_info, str) else json.dumps(device_info))[:MAX_DEVICE_INFO]
