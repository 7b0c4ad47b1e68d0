from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import Request
from starlette.types import Message

from savo_gateway.errors import InvalidRequestError, UploadRefusedError
from savo_gateway.http.bodies import Upload, receive
from savo_gateway.photos.uploads import UploadLimits

LIMITS = UploadLimits(max_bytes=4_000_000)
PHOTO = b"\xff\xd8\r\n--savo\r-\n\r\n--sav" + bytes(range(256)) * 3


def part(name: str, value: bytes, filename: str = "") -> bytes:
    told = f'; filename="{filename}"' if filename else ""
    return f'--savory\r\nContent-Disposition: form-data; name="{name}"{told}\r\n\r\n'.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--savory--\r\n"


async def received(body: bytes, piece: int) -> Upload:
    """The body as a form that comes in pieces of that many bytes."""
    return await receive(streamed(body[at : at + piece] for at in range(0, len(body), piece)), LIMITS)


def streamed(pieces: Iterator[bytes]) -> Request:
    return Request(
        {"type": "http", "headers": [(b"content-type", b"multipart/form-data; boundary=savory")]}, _Wire(pieces)
    )


class _Wire:
    """An ASGI `receive` without an announced length."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    async def __call__(self) -> Message:
        piece = next(self._pieces, b"")
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}


@pytest.mark.parametrize("piece", [1, 2, 7, 64, 100_000])
async def test_a_form_is_the_same_however_the_network_cuts_it(piece: int) -> None:
    body = form(
        part("storage_location", b"fridge"),
        part("image", PHOTO, "p.jpg"),
        part("device_info", "Küche\r\n--sav".encode()),
        part("user_id", b" "),
    )
    assert await received(body, piece) == Upload(PHOTO, {"storage_location": "fridge", "device_info": "Küche\r\n--sav"})


async def test_a_form_without_an_announced_length_is_refused_where_it_passes_the_limit() -> None:
    came = 0

    def pieces() -> Iterator[bytes]:
        nonlocal came
        yield part("image", b"", "p.jpg")[:-2]
        while True:
            came += 100_000
            yield bytes(100_000)

    with pytest.raises(UploadRefusedError, match="at most 4 MB"):
        await receive(streamed(pieces()), LIMITS)
    assert came <= LIMITS.max_bytes + 200_000


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (form(part("image", PHOTO, "a.jpg"), part("image", PHOTO, "b.jpg")), "Too many files"),
        (form(part("image", PHOTO)), "needs a file in the field `image`"),
        (form(part("image", PHOTO), part("picture", PHOTO, "p.jpg")), "needs a file in the field `image`"),
        (form(part("image", PHOTO, "p.jpg"), part("device_info", b"x" * 100_001)), "exceeded maximum size"),
        (form(part("image", PHOTO, "p.jpg"), *[part("device_info", b"x")] * 21), "Too many fields"),
    ],
    ids=["two photos", "no file", "another field's file", "a long field", "many fields"],
)
async def test_a_form_that_is_not_one_photo_and_a_few_short_fields_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(InvalidRequestError, match=why):
        await received(body, 1000)
