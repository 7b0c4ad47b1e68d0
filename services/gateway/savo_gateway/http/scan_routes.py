"""/v1/scans routes: photos in, results out, confirmations back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import format_sse_event
from structlog.contextvars import bind_contextvars

from savo_gateway.confirmations.confirmation import ConfirmScan
from savo_gateway.confirmations.records import ConfirmationRequest
from savo_gateway.errors import InvalidRequestError
from savo_gateway.http.dependencies import ScansCaller, find_visible, person_for, provided
from savo_gateway.http.problems import PROBLEM_RESPONSES
from savo_gateway.http.schemas import ConfirmationView, ScanForm, ScanPage, ScanTrace, ScanView
from savo_gateway.http.trace_view import trace_of
from savo_gateway.http.upload_reader import BINARY, UploadReader, parse_form, photo_body
from savo_gateway.photos.storage import ReadPhoto
from savo_gateway.ports import EventPositions, ScanStore
from savo_gateway.scans.acceptance import AcceptScan
from savo_gateway.scans.long_polling import WaitForScan
from savo_gateway.scans.records import Scan, ScanDetails, ScanUpload, is_scan_id

__all__ = ["PHOTO_HEADERS", "PHOTO_RESPONSE", "ScanUseCases", "router"]

router = APIRouter(prefix="/v1/scans", tags=["scans"], responses=PROBLEM_RESPONSES)

# A private photo: no cache stores it, and a browser treats it as an image only.
PHOTO_HEADERS = {
    "Cache-Control": "private, no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
PHOTO_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The photo", "content": dict.fromkeys(("image/jpeg", "image/png", "image/webp"), BINARY)}
}


@dataclass(frozen=True, kw_only=True)
class ScanUseCases:
    """The use cases of these routes."""

    read_upload: UploadReader
    accept: AcceptScan
    wait: WaitForScan
    confirm: ConfirmScan
    read_photo: ReadPhoto
    scans: ScanStore
    positions: EventPositions
    clock: Callable[[], datetime]


Scans = Annotated[ScanUseCases, provided(ScanUseCases)]


async def _visible(scan_id: str, use: Scans, caller: ScansCaller) -> Scan:
    if is_scan_id(scan_id):
        bind_contextvars(scan_id=scan_id)
    return await find_visible(use.scans, caller, scan_id)


VisibleScan = Annotated[Scan, Depends(_visible)]


@router.post(
    "",
    summary="Send a photo",
    status_code=202,
    response_model=ScanView,
    responses={200: {"model": ScanView, "description": "The result came within `wait`"}},
    openapi_extra=photo_body(ScanForm),
)
async def create_scan(
    request: Request,
    use: Scans,
    caller: ScansCaller,
    wait: Annotated[float, Query(ge=0, le=30, description="Seconds to wait for the result.")] = 0,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=255, description="The same key with the same body returns the same scan."),
    ] = None,
) -> Response:
    # The upload is bound to no name: its photo would stay in memory while the caller waits.
    scan = await use.accept(await _upload_of(request, use.read_upload, caller, idempotency_key))
    if wait and not scan.done:
        scan = await use.wait(scan.scan_id, wait, known=scan)
    view = ScanView.of(scan)
    return JSONResponse(view.model_dump(mode="json"), 200 if scan.done else 202, {"Location": view.links["self"]})


async def _upload_of(
    request: Request,
    read_upload: UploadReader,
    caller: ScansCaller,
    idempotency_key: str | None,
) -> ScanUpload:
    upload = await read_upload(request)
    form = parse_form(ScanForm, upload.fields)
    details = ScanDetails(
        person=person_for(caller, form.user_id, form.device_id),
        storage_location=form.storage_location,
        consent=form.consent,
        captured_at=form.captured_at,
        device_info=form.device_info,
    )
    return ScanUpload(data=upload.photo, details=details, caller=caller.name, idempotency_key=idempotency_key)


@router.get("", summary="A user's scans, newest first")
async def list_scans(
    use: Scans,
    caller: ScansCaller,
    user_id: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    device_id: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    cursor: Annotated[str | None, Query(max_length=300, description="next_cursor of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> ScanPage:
    person = person_for(caller, user_id, device_id)
    if person is None:
        raise InvalidRequestError("user_id", "send user_id or device_id, whose scans are listed")
    before = _read_cursor(cursor) if cursor else None
    subject = await use.scans.subject_of(person)
    scans = await use.scans.page(subject, before=before, limit=limit + 1) if subject else []
    shown = scans[:limit]
    return ScanPage(
        scans=[ScanView.of(scan) for scan in shown], next_cursor=_cursor(shown[-1]) if len(scans) > limit else None
    )


@router.get("/{scan_id}", summary="State and result")
async def show_scan(scan: VisibleScan) -> ScanView:
    return ScanView.of(scan)


@router.get("/{scan_id}/events", summary="Server-Sent Events until the scan is done", response_class=StreamingResponse)
async def watch_scan(scan: VisibleScan, use: Scans) -> Response:
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(use.wait, scan.scan_id), headers=headers, media_type="text/event-stream")


async def _events(wait: WaitForScan, scan_id: str) -> AsyncIterator[bytes]:
    async for scan in wait.changes(scan_id):
        if scan is None:
            yield format_sse_event(comment="still waiting")
        else:
            yield format_sse_event(event="scan", data_str=ScanView.of(scan).model_dump_json())


@router.get(
    "/{scan_id}/photo",
    summary="The stored photo: no metadata but its orientation; a HEIC as JPEG",
    response_class=Response,
    responses=PHOTO_RESPONSE,
)
async def show_photo(scan: VisibleScan, use: Scans) -> Response:
    """404 when the user has no such scan, or its photo was erased."""
    return Response(await use.read_photo(scan), headers=PHOTO_HEADERS, media_type=scan.image.media_type)


@router.get("/{scan_id}/trace", summary="Why this answer")
async def trace_scan(scan: VisibleScan, use: Scans) -> ScanTrace:
    """The routing decision, the time of each hop, and topic, partition and offset of each event of the scan."""
    return trace_of(scan, await use.positions.of_scan(scan.scan_id), use.clock())


@router.post("/{scan_id}/confirmation", summary="Confirm or correct", status_code=202)
async def confirm_scan(scan: VisibleScan, request: ConfirmationRequest, use: Scans) -> ConfirmationView:
    confirmed = await use.confirm(scan.scan_id, request)
    assert confirmed.confirmation is not None
    return ConfirmationView.of(confirmed.confirmation)


def _cursor(scan: Scan) -> str:
    return base64.urlsafe_b64encode(f"{scan.requested_at.isoformat()}|{scan.scan_id}".encode()).decode().rstrip("=")


_WRONG_CURSOR = "this is not the next_cursor of an earlier answer; leave it out to start at the newest scan"


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        moment, _, scan_id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition("|")
        at = datetime.fromisoformat(moment)
    except (ValueError, binascii.Error) as error:
        raise InvalidRequestError("cursor", _WRONG_CURSOR) from error
    if at.utcoffset() is None or not is_scan_id(scan_id):
        raise InvalidRequestError("cursor", _WRONG_CURSOR)
    return at, scan_id
