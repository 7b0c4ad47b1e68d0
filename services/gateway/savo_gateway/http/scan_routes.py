"""/v1/scans: photos in, answers out, and what users say about them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import format_sse_event

from savo_gateway.confirmations.confirmation import ConfirmationRequest
from savo_gateway.errors import InvalidRequestError, UploadRefusedError
from savo_gateway.http.bodies import Received, form_of, receive
from savo_gateway.http.dependencies import Gateway, ScansCaller, TheGateway, VisibleScan, person_for
from savo_gateway.http.problems import PROBLEM_RESPONSES
from savo_gateway.http.shapes import ConfirmationView, ScanForm, ScanPage, ScanTrace, ScanView
from savo_gateway.http.traces import trace_of
from savo_gateway.scans.acceptance import Scan, ScanOrder, is_scan_id

__all__ = ["photo_body", "receive_photo", "router"]

router = APIRouter(prefix="/v1/scans", tags=["scans"], responses=PROBLEM_RESPONSES)

_BINARY = {"schema": {"type": "string", "format": "binary"}}

# Somebody's kitchen: no cache between here and its owner keeps it, and a browser takes it for nothing but a picture.
_PHOTO_HEADERS = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}


def photo_body(form: type[Any]) -> dict[str, Any]:
    """OpenAPI of a body that is a form with a photo, or the photo itself."""
    fields = form.model_json_schema(ref_template="#/components/schemas/{model}")
    properties = {name: _inlined(schema, fields.get("$defs", {})) for name, schema in fields["properties"].items()}
    whole = {"type": "object", "required": ["image"], "properties": {"image": {"type": "string", "format": "binary"}, **properties}}
    return {
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": whole}, **{f"image/{kind}": _BINARY for kind in ("jpeg", "png", "webp", "heic")}},
        }
    }


def _inlined(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    options = [definitions[option["$ref"].rpartition("/")[2]] if "$ref" in option else option for option in schema.get("anyOf", [])]
    return {**schema, "anyOf": options} if options else schema


async def receive_photo(request: Request, gateway: Gateway) -> Received:
    """The body. A refused one is counted under its reason."""
    try:
        return await receive(request, gateway.limits)
    except UploadRefusedError as refusal:
        await gateway.figures.count_refused_upload(refusal.flaw.value)
        raise


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
    gateway: TheGateway,
    caller: ScansCaller,
    wait: Annotated[float, Query(ge=0, le=30, description="Seconds to wait for the result.")] = 0,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255, description="The same key with the same body is the same scan.")] = None,
) -> Response:
    # The order has no name here: its photo would stay in memory as long as its sender waits.
    scan = await accept_counted(gateway, await _order_of(request, gateway, caller, idempotency_key))
    if wait and not scan.done:
        scan = await gateway.wait(scan.scan_id, wait, known=scan)
    view = ScanView.of(scan)
    return JSONResponse(view.model_dump(mode="json"), 200 if scan.done else 202, {"Location": view.links["self"]})


async def _order_of(request: Request, gateway: Gateway, caller: ScansCaller, idempotency_key: str | None) -> ScanOrder:
    received = await receive_photo(request, gateway)
    form = form_of(ScanForm, received.fields)
    return ScanOrder(
        data=received.photo,
        person=person_for(caller, form.user_id, form.device_id),
        storage_location=form.storage_location,
        consent=form.consent,
        captured_at=form.captured_at,
        device_info=form.device_info,
        caller=caller.name,
        idempotency_key=idempotency_key,
    )


async def accept_counted(gateway: Gateway, order: ScanOrder) -> Scan:
    try:
        return await gateway.accept(order)
    except UploadRefusedError as refusal:
        await gateway.figures.count_refused_upload(refusal.flaw.value)
        raise


@router.get("", summary="A user's scans, newest first")
async def list_scans(
    gateway: TheGateway,
    caller: ScansCaller,
    user_id: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    device_id: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    cursor: Annotated[str | None, Query(max_length=300, description="next_cursor of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> ScanPage:
    person = person_for(caller, user_id, device_id)
    if person is None:
        raise InvalidRequestError("user_id", "say whose scans: user_id or device_id")
    before = _read_cursor(cursor) if cursor else None
    subject = await gateway.scans.subject_of(person)
    scans = await gateway.scans.page(subject, before=before, limit=limit + 1) if subject else []
    shown = scans[:limit]
    return ScanPage(scans=[ScanView.of(scan) for scan in shown], next_cursor=_cursor(shown[-1]) if len(scans) > limit else None)


@router.get("/{scan_id}", summary="State and result")
async def show_scan(scan: VisibleScan) -> ScanView:
    return ScanView.of(scan)


@router.get("/{scan_id}/events", summary="Server-Sent Events until the scan is done", response_class=StreamingResponse)
async def watch_scan(scan: VisibleScan, gateway: TheGateway) -> Response:
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(gateway, scan.scan_id), headers=headers, media_type="text/event-stream")


async def _events(gateway: Gateway, scan_id: str) -> AsyncIterator[bytes]:
    async for scan in gateway.wait.changes(scan_id):
        if scan is None:
            yield format_sse_event(comment="still waiting")
        else:
            yield format_sse_event(event="scan", data_str=ScanView.of(scan).model_dump_json())


@router.get(
    "/{scan_id}/photo",
    summary="The photo as it is kept: upright by its orientation, without other metadata; a HEIC is a JPEG",
    response_class=Response,
    responses={200: {"description": "The photo", "content": dict.fromkeys(("image/jpeg", "image/png", "image/webp"), _BINARY)}},
)
async def show_photo(scan: VisibleScan, gateway: TheGateway) -> Response:
    """404 when there is no such scan of this user, or its photo was erased."""
    return Response(await gateway.read_photo(scan), headers=_PHOTO_HEADERS, media_type=scan.image.media_type)


@router.get("/{scan_id}/trace", summary="Why this answer")
async def trace_scan(scan: VisibleScan, gateway: TheGateway) -> ScanTrace:
    """The route as it was decided, each hop's time, and topic, partition and offset of each event of the scan."""
    return trace_of(scan, await gateway.journal.of_scan(scan.scan_id), gateway.clock())


@router.post("/{scan_id}/confirmation", summary="Confirm or correct", status_code=202)
async def confirm_scan(scan: VisibleScan, said: ConfirmationRequest, gateway: TheGateway) -> ConfirmationView:
    confirmed = await gateway.confirm(scan.scan_id, said)
    assert confirmed.confirmation is not None
    return ConfirmationView.of(confirmed.confirmation)


def _cursor(scan: Scan) -> str:
    return base64.urlsafe_b64encode(f"{scan.requested_at.isoformat()}|{scan.scan_id}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        moment, _, scan_id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition("|")
        at = datetime.fromisoformat(moment)
    except (ValueError, binascii.Error) as flaw:
        raise InvalidRequestError("cursor", "this is no next_cursor of an answer") from flaw
    if at.utcoffset() is None or not is_scan_id(scan_id):
        raise InvalidRequestError("cursor", "this is no next_cursor of an answer")
    return at, scan_id
