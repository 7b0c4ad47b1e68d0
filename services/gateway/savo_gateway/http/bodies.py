"""A photo and its fields out of a request's body, bounded while it streams: no body is taken whole before it is measured."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from savo_gateway.errors import InvalidRequestError, UploadFlaw, UploadRefusedError
from savo_gateway.photos.uploads import ALLOWED_TYPES, UploadLimits

__all__ = ["Received", "form_of", "receive"]

ROOM_FOR_FIELDS = 100_000
"""Bytes of a multipart body beside the photo."""

MAX_FIELDS = 20

F = TypeVar("F", bound=BaseModel)


@dataclass(frozen=True)
class Received:
    photo: bytes
    fields: dict[str, str]
    """Of the form, or of the query when the body is the photo itself; empty ones are left out."""


class _InMemoryParser(MultiPartParser):
    """A part stays in memory: the body is bounded, and a disk would only be another thing to fill."""

    spool_max_size = 1 << 30


async def receive(request: Request, limits: UploadLimits) -> Received:
    """Raises `UploadRefusedError` as soon as too much has come, and `InvalidRequestError` for a form without a photo."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _from_form(request, limits)
    if kind and kind != "application/octet-stream" and not kind.startswith("image/"):
        detail = f"a body of type {kind!r} is no photo; send multipart/form-data with the field `image`, or the photo itself"
        raise UploadRefusedError(UploadFlaw.WRONG_TYPE, detail, allowed=["multipart/form-data", *ALLOWED_TYPES])
    photo = b"".join([chunk async for chunk in _bounded(request, limits.max_bytes, limits)])
    return Received(photo, _filled(request.query_params))


def form_of(kind: type[F], fields: Mapping[str, str]) -> F:
    """The fields, checked. Raises `RequestValidationError` naming the field."""
    try:
        return kind.model_validate(fields)
    except ValidationError as flaws:
        raise RequestValidationError(flaws.errors(include_url=False)) from None


async def _from_form(request: Request, limits: UploadLimits) -> Received:
    stream = _bounded(request, limits.max_bytes + ROOM_FOR_FIELDS, limits)
    try:
        form = await _InMemoryParser(request.headers, stream, max_files=1, max_fields=MAX_FIELDS, max_part_size=ROOM_FOR_FIELDS).parse()
    except MultiPartException as flaw:
        raise InvalidRequestError("body", f"this is no readable form: {flaw.message}") from flaw
    except (KeyError, ValueError) as flaw:
        raise InvalidRequestError("body", "this is no readable form: its boundary is missing") from flaw
    try:
        return Received(await _photo(form), _filled({name: value for name, value in form.items() if isinstance(value, str)}))
    finally:
        await form.close()


async def _photo(form: FormData) -> bytes:
    photo = form.get("image")
    if not isinstance(photo, UploadFile):
        raise InvalidRequestError("image", "the form needs a file in the field `image`")
    return await photo.read()


async def _bounded(request: Request, most: int, limits: UploadLimits) -> AsyncGenerator[bytes, None]:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        raise limits.too_large()
    came = 0
    async for chunk in request.stream():
        came += len(chunk)
        if came > most:
            raise limits.too_large()
        yield chunk


def _filled(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value.strip()}
