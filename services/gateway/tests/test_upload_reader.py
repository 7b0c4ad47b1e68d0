"""Upload parsing: forms that arrive in pieces, and forms past the limits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import Request
from starlette.types import Message

from savo_gateway.errors import InvalidRequestError, UploadRefusedError
from savo_gateway.http.upload_reader import Upload, receive
from savo_gateway.photos.uploads import UploadLimits

LIMITS = UploadLimits(max_bytes=4_000_000)
PHOTO = b"\xff\xd8\r\n--savo\r-\n\r\n--sav" + bytes(range(256)) * 3


def part(name: str, value: bytes, filename: str = "") -> bytes:
    suffix = f'; filename="{filename}"' if filename else ""
    return f'--savory\r\nContent-Disposition: form-data; name="{name}"{suffix}\r\n\r\n'.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--savory--\r\n"


async def received(body: bytes, piece: int) -> Upload:
    """The upload of a form that arrives in pieces of that many bytes."""
    return await receive(streamed(body[at : at + piece] for at in range(0, len(body), piece)), LIMITS)


def streamed(pieces: Iterator[bytes]) -> Request:
    return Request(
        {"type": "http", "headers": [(b"content-type", b"multipart/form-data; boundary=savory")]}, _Wire(pieces)
    )


class _Wire:
    """An ASGI `receive` for a body without a declared length."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    async def __call__(self) -> Message:
        piece = next(self._pieces, b"")
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}


@pytest.mark.parametrize("piece", [1, 2, 7, 64, 100_000])
async def test_a_form_is_read_the_same_in_pieces_of_any_size(piece: int) -> None:
    body = form(
        part("storage_location", b"fridge"),
        part("image", PHOTO, "p.jpg"),
        part("device_info", "Küche\r\n--sav".encode()),
        part("user_id", b" "),
    )
    assert await received(body, piece) == Upload(PHOTO, {"storage_location": "fridge", "device_info": "Küche\r\n--sav"})


async def test_a_form_without_a_declared_length_is_refused_at_the_limit() -> None:
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        yield part("image", b"", "p.jpg")[:-2]
        while True:
            sent += 100_000
            yield bytes(100_000)

    with pytest.raises(UploadRefusedError, match="at most 4 MB"):
        await receive(streamed(pieces()), LIMITS)
    assert sent <= LIMITS.max_bytes + 200_000


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (form(part("image", PHOTO, "a.jpg"), part("image", PHOTO, "b.jpg")), "Too many files"),
        (form(part("image", PHOTO)), "needs a file in the field `image`"),
        (form(part("image", PHOTO), part("picture", PHOTO, "p.jpg")), "needs a file in the field `image`"),
        (form(part("image", PHOTO, "p.jpg"), part("device_info", b"x" * 100_001)), "exceeded maximum size"),
        (form(part("image", PHOTO, "p.jpg"), *[part("device_info", b"x")] * 21), "Too many fields"),
    ],
    ids=["two photos", "no file", "another field's file", "a long field", "many fields"],
)
async def test_a_form_with_other_files_or_too_many_or_long_fields_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        await received(body, 1000)
