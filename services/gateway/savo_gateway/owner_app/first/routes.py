"""Routes of generation 1 of the app beside /training: POST /inventory/scan and GET /health."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, Field

from savo_contracts.envelope import ImageRef
from savo_contracts.geometry import BoundingBox
from savo_contracts.scans import Detection, StorageLocation
from savo_gateway.errors import GatewayError
from savo_gateway.http.dependencies import provided
from savo_gateway.http.problems import PROBLEM_RESPONSES
from savo_gateway.http.schemas import Name
from savo_gateway.http.upload_reader import UploadReader, parse_form, photo_body
from savo_gateway.owner_app.answers import app_message
from savo_gateway.owner_app.callers import AppCaller, AppScansCaller
from savo_gateway.owner_app.first.photo_scans import ScanAppPhoto
from savo_gateway.owner_app.first.vocabulary import quantity_text, storage_location_of, storage_text
from savo_gateway.scans.records import Scan, ScanDetails, ScanStatus

__all__ = ["FirstGenerationUseCases", "router"]

router = APIRouter(tags=["app"], responses=PROBLEM_RESPONSES)

ANSWER_SECONDS = 19.0
"""From the request to the answer. The app gives up after twenty seconds."""

LATE = "The answer takes longer than usual. Please scan again."
FAILED = "The photo could not be scanned. Please try again."


@dataclass(frozen=True, kw_only=True)
class FirstGenerationUseCases:
    """The use cases of these routes."""

    read_upload: UploadReader
    scan: ScanAppPhoto


Use = Annotated[FirstGenerationUseCases, provided(FirstGenerationUseCases)]


class InventoryForm(BaseModel):
    """Fields beside the photo. Unknown ones, and an unknown place, are ignored."""

    storage_hint: Annotated[StorageLocation | None, BeforeValidator(storage_location_of)] = Field(
        default=None, description="pantry, refrigerator or freezer."
    )
    user_id: Name
    device_id: Name


class PixelBox(BaseModel):
    """A box in pixels of the upright photo, from the top left."""

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def of(cls, box: BoundingBox, image: ImageRef) -> Self:
        left, top, right, bottom = box.to_pixels(image.width, image.height)
        return cls(x=round(left, 2), y=round(top, 2), width=round(right - left, 2), height=round(bottom - top, 2))


class ScannedItem(BaseModel):
    """An ingredient in the app's words."""

    ingredient: str
    quantity_estimate: str | None
    confidence: float
    storage_hint: str | None
    bbox: PixelBox | None

    @classmethod
    def of(cls, item: Detection, image: ImageRef) -> Self:
        return cls(
            ingredient=item.name,
            quantity_estimate=quantity_text(item.quantity_estimate),
            confidence=item.confidence,
            storage_hint=storage_text(item.storage_hint),
            bbox=PixelBox.of(item.bbox, image) if item.bbox else None,
        )


class InventoryAnswer(BaseModel):
    """The app's answer of a scan."""

    status: Literal["ok", "error"]
    scanned_items: list[ScannedItem] = Field(default_factory=list)
    error_message: str | None = Field(default=None, description="With status error: what the person reads.")
    scan_id: str | None = Field(default=None, description="Of this product, for POST /training/submit and /v1/scans.")
    image_hash: str | None = Field(default=None, description="SHA-256 of the photo as it was sent.")


@router.post(
    "/inventory/scan", summary="Scan a photo or a frame of the live camera", openapi_extra=photo_body(InventoryForm)
)
async def scan_inventory(request: Request, use: Use, caller: AppScansCaller) -> InventoryAnswer:
    """The answer comes within 20 s. A bad photo, and a failed or late scan, are a 200 with status error."""
    started = asyncio.get_running_loop().time()
    image_hash: str | None = None
    try:
        upload = await use.read_upload(request)
        image_hash = sha256(upload.photo).hexdigest()
        left = ANSWER_SECONDS - (asyncio.get_running_loop().time() - started)
        scan = await _scan(use.scan, caller, upload.photo, upload.fields, left)
    except (GatewayError, RequestValidationError) as error:
        return InventoryAnswer(status="error", error_message=app_message(error), image_hash=image_hash)
    return _answer(scan, image_hash)


async def _scan(scan: ScanAppPhoto, caller: AppCaller, photo: bytes, fields: dict[str, str], within: float) -> Scan:
    form = parse_form(InventoryForm, fields)
    sender = caller.sender(form.user_id, form.device_id)
    details = ScanDetails(person=sender.person, storage_location=form.storage_hint, open_access=sender.open_access)
    return await scan(photo, details, caller.source(sender.person), within=within)


def _answer(scan: Scan, image_hash: str) -> InventoryAnswer:
    if scan.result is None:
        message = (scan.error.message if scan.error else FAILED) if scan.status is ScanStatus.FAILED else LATE
        return InventoryAnswer(status="error", error_message=message, scan_id=scan.scan_id, image_hash=image_hash)
    items = [ScannedItem.of(item, scan.image) for item in scan.result.items]
    return InventoryAnswer(status="ok", scanned_items=items, scan_id=scan.scan_id, image_hash=image_hash)


class Health(BaseModel):
    """The process answers. /readyz says whether its dependencies do."""

    status: Literal["ok"] = "ok"


@router.get("/health", summary="Whether the process answers; always open")
async def show_health() -> Health:
    return Health()
