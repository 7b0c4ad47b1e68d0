"""Upload parsing: the photo and its form fields from a request body, with the size limit applied while it streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from savo_gateway.errors import InvalidRequestError, UploadRefusal, UploadRefusedError
from savo_gateway.photos.uploads import ALLOWED_TYPES, UploadLimits
from savo_gateway.ports import RefusedUploads

__all__ = ["BINARY", "Upload", "UploadReader", "parse_form", "photo_body", "receive", "without_empty"]

BINARY = {"schema": {"type": "string", "format": "binary"}}
"""OpenAPI schema of a body that is a file."""

MAX_FIELDS_BYTES = 100_000
"""Of a multipart body, beside the photo."""

MAX_FIELDS = 20

F = TypeVar("F", bound=BaseModel)


@dataclass(frozen=True)
class Upload:
    """A photo with its fields, as a request sends them."""

    photo: bytes
    fields: dict[str, str]
    """Of the form, or of the query when the body is the photo itself. Empty fields are left out."""


class _InMemoryParser(MultiPartParser):
    """Keeps each part in memory: the body is bounded, and a disk could fill up."""

    spool_max_size = 1 << 30


@dataclass(frozen=True)
class UploadReader:
    """Reads uploads, and counts refused ones by reason."""

    limits: UploadLimits
    refused: RefusedUploads

    async def __call__(self, request: Request) -> Upload:
        """Raises as `receive` does."""
        try:
            return await receive(request, self.limits)
        except UploadRefusedError as refusal:
            await self.refused.count_refused_upload(refusal.reason.value)
            raise


async def receive(request: Request, limits: UploadLimits) -> Upload:
    """Raises `UploadRefusedError` at the first byte past the limit, `InvalidRequestError` for an invalid form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _from_form(request, limits)
    if kind and kind != "application/octet-stream" and not kind.startswith("image/"):
        allowed = "send multipart/form-data with the field `image`, or the photo itself"
        detail = f"a body of type {kind!r} is not a photo; {allowed}"
        raise UploadRefusedError(UploadRefusal.WRONG_TYPE, detail, allowed=["multipart/form-data", *ALLOWED_TYPES])
    photo = b"".join([chunk async for chunk in _bounded(request, limits.max_bytes, limits)])
    return Upload(photo, without_empty(request.query_params))


def parse_form(kind: type[F], fields: Mapping[str, str]) -> F:
    """The validated fields. Raises `RequestValidationError` with the name of the field."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None


def photo_body(form: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI description of a body that is a form with a photo, or the photo itself."""
    fields = form.model_json_schema(ref_template="#/components/schemas/{model}")
    properties = {name: _inlined(schema, fields.get("$defs", {})) for name, schema in fields["properties"].items()}
    photo = {"image": {"type": "string", "format": "binary"}}
    form_schema = {"type": "object", "required": ["image"], "properties": {**photo, **properties}}
    content: dict[str, Any] = {"multipart/form-data": {"schema": form_schema}}
    content |= {f"image/{kind}": BINARY for kind in ("jpeg", "png", "webp", "heic")}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    options = [
        definitions[option["$ref"].rpartition("/")[2]] if "$ref" in option else option
        for option in schema.get("anyOf", [])
    ]
    return {**schema, "anyOf": options} if options else schema


async def _from_form(request: Request, limits: UploadLimits) -> Upload:
    stream = _bounded(request, limits.max_bytes + MAX_FIELDS_BYTES, limits)
    try:
        parser = _InMemoryParser(
            request.headers,
            stream,
            max_files=1,
            max_fields=MAX_FIELDS,
            max_part_size=MAX_FIELDS_BYTES,
        )
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequestError("body", f"the form cannot be read: {error.message}") from error
    except (KeyError, ValueError) as error:
        raise InvalidRequestError("body", "the form cannot be read: its boundary is missing") from error
    try:
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        return Upload(await _photo(form), without_empty(fields))
    finally:
        await form.close()


async def _photo(form: FormData) -> bytes:
    photo = form.get("image")
    if not isinstance(photo, UploadFile):
        raise InvalidRequestError("image", "the form needs a file in the field `image`")
    return await photo.read()


async def _bounded(request: Request, limit: int, limits: UploadLimits) -> AsyncGenerator[bytes, None]:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise limits.too_large()
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise limits.too_large()
        yield chunk


def without_empty(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value.strip()}
