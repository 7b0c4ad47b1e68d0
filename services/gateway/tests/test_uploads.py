"""Checks of uploads: accepted photos, and the reasons of refused ones."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from savo_detection.photos.decoding import probe
from savo_detection.photos.metadata import strip_metadata
from savo_gateway.errors import UploadRefusal, UploadRefusedError
from savo_gateway.photos.uploads import UploadLimits, prepare

LIMITS = UploadLimits()


def encoded(kind: str, **options: object) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    out = BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def heic() -> bytes:
    out = BytesIO()
    pillow_heif.from_pillow(Image.open(BytesIO(encoded("PNG")))).save(out)
    return out.getvalue()


AVIF = b"\0\0\0\x20ftypmif1\0\0\0\0avifmif1miafMA1B" + bytes(40)
"""AVIF by its brands, with HEIF's brand as the major one."""
NOISE = np.random.default_rng(5).bytes(2000)
_GRAIN = Image.fromarray(np.random.default_rng(6).integers(0, 256, (300, 400, 3), np.uint8))


def _large(progressive: bool) -> bytes:
    out = BytesIO()
    _GRAIN.save(out, "JPEG", quality=90, progressive=progressive)
    return out.getvalue()


LARGE = {progressive: _large(progressive) for progressive in (False, True)}
"""Larger than the part that is decoded of a JPEG with one scan."""


def refusal_of(data: bytes, limits: UploadLimits = LIMITS) -> UploadRefusedError:
    with pytest.raises(UploadRefusedError) as refusal:
        prepare(data, limits)
    return refusal.value


def test_a_photo_has_the_hashes_of_the_stored_and_of_the_received_bytes() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    received = encoded("JPEG", exif=exif)
    photo = prepare(received, LIMITS)
    assert photo.sha256 == sha256(photo.data).hexdigest()
    assert photo.upload_sha256 == sha256(received).hexdigest()
    assert (photo.width, photo.height) == (48, 64), "upright"
    assert photo.ref.key == f"scans/{photo.sha256[:2]}/{photo.sha256}.jpg"


def test_an_unusual_orientation_is_stored_in_the_form_that_all_readers_know() -> None:
    """An orientation of type LONG, in the first of two EXIF blocks."""
    turned = b"Exif\0\0MM" + struct.pack(">HIHHHII", 42, 8, 1, 0x0112, 4, 1, 6)
    upright = b"Exif\0\0MM" + struct.pack(">HIHHHIHH", 42, 8, 1, 0x0112, 3, 1, 1, 0)
    blocks = [b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block for block in (turned, upright)]
    plain = encoded("JPEG")
    photo = prepare(plain[:2] + b"".join(blocks) + plain[2:], LIMITS)
    assert (photo.width, photo.height) == (48, 64)
    with Image.open(BytesIO(photo.data)) as picture:
        assert dict(picture.getexif()) == {0x0112: 6}
    assert photo.data.count(b"Exif") == 1


def test_a_heic_photo_becomes_an_upright_jpeg_without_metadata() -> None:
    out = BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), "red")).save(out, exif=Image.Exif().tobytes())
    photo = prepare(out.getvalue(), LIMITS)
    assert photo.media_type == "image/jpeg"
    with Image.open(BytesIO(photo.data)) as picture:
        assert picture.size == (64, 48)
        assert not dict(picture.getexif())


@pytest.mark.parametrize(
    ("data", "reason", "status"),
    [
        (b"", UploadRefusal.EMPTY, 422),
        (b"%PDF-1.7 no photo", UploadRefusal.WRONG_TYPE, 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", UploadRefusal.WRONG_TYPE, 415),
        (encoded("GIF"), UploadRefusal.WRONG_TYPE, 415),
        (AVIF, UploadRefusal.WRONG_TYPE, 415),
        (encoded("JPEG")[:-300], UploadRefusal.TRUNCATED, 422),
        (encoded("PNG")[:-300], UploadRefusal.TRUNCATED, 422),
        (encoded("WEBP")[:-300], UploadRefusal.TRUNCATED, 422),
        (heic()[:-300], UploadRefusal.TRUNCATED, 422),
        (encoded("PNG").replace(b"IDAT\x78", b"IDAT\xff"), UploadRefusal.UNREADABLE, 422),
        (heic()[:24] + NOISE, UploadRefusal.UNREADABLE, 422),
    ],
    ids=[
        "empty",
        "pdf",
        "svg",
        "gif",
        "avif",
        "cut jpeg",
        "cut png",
        "cut webp",
        "cut heic",
        "damaged",
        "noise in a heic",
    ],
)
def test_a_file_that_is_not_a_photo_is_refused_with_a_stable_code(data: Any, reason: Any, status: Any) -> None:
    refusal = refusal_of(data)
    assert (refusal.reason, refusal.code, refusal.status) == (reason, reason.value, status)
    assert refusal.detail


def test_a_refused_type_comes_with_the_accepted_types() -> None:
    assert refusal_of(AVIF).extra == {"allowed": ["image/jpeg", "image/png", "image/webp", "image/heic"]}


def test_a_photo_with_too_many_bytes_is_refused_with_the_limit() -> None:
    refusal = refusal_of(encoded("PNG"), UploadLimits(max_bytes=1000))
    assert refusal.reason is UploadRefusal.TOO_LARGE
    assert refusal.extra == {"limit": {"bytes": 1000}}


def test_too_many_pixels_are_refused_before_decoding() -> Any:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 14_000, 14_000, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", b"")
        + chunk(b"IEND", b"")
    )
    refusal = refusal_of(bomb)
    assert refusal.reason is UploadRefusal.TOO_MANY_PIXELS
    assert "50 megapixels" in refusal.detail
    assert refusal.extra == {"limit": {"pixels": 50_000_000}}


@pytest.mark.parametrize(
    "start",
    [b"\xff\xd8\xff\xe0", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\xff\x00\x00WEBP"],
    ids=["jfif", "jpeg", "png", "webp"],
)
@pytest.mark.parametrize("seed", range(6))
def test_noise_after_a_photos_first_bytes_is_unreadable_rather_than_truncated(start: bytes, seed: int) -> None:
    refusal = refusal_of(start + np.random.default_rng(seed).bytes(3000))
    assert refusal.reason is UploadRefusal.UNREADABLE
    assert "send it again" not in refusal.detail


@pytest.mark.parametrize("seed", range(6))
def test_noise_instead_of_pixels_is_unreadable(seed: int) -> None:
    whole = encoded("JPEG")
    at = whole.index(b"\xff\xda") + 14
    assert refusal_of(whole[:at] + np.random.default_rng(seed).bytes(20_000)).reason is UploadRefusal.UNREADABLE


DAMAGE: dict[str, Callable[[bytearray, int, bytes], None]] = {
    "in the header": lambda photo, at, noise: photo.__setitem__(2 + at % 600, noise[0]),
    "in the pixels": lambda photo, at, noise: photo.__setitem__(slice(at, at + len(noise)), noise),
    "missing": lambda photo, at, _: photo.__delitem__(slice(at, at + 500)),
    "ended early": lambda photo, at, _: photo.__setitem__(slice(at, None), b"\xff\xd9"),
}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(DAMAGE)), st.booleans(), st.integers(700, 150_000), st.binary(min_size=1, max_size=64))
def test_the_first_rows_of_a_jpeg_show_the_damage_that_all_rows_would(
    kind: str, progressive: bool, at: int, noise: bytes
) -> None:
    photo = bytearray(LARGE[progressive])
    DAMAGE[kind](photo, at, noise)
    try:
        stripped = strip_metadata(bytes(photo))
        with Image.open(BytesIO(stripped), formats=("JPEG",)) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError):
        assert refusal_of(bytes(photo)).detail
    else:
        assert prepare(bytes(photo), LIMITS).data == strip_metadata(bytes(photo), probe(bytes(photo)).orientation)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_refused_as_png_and_as_webp(kind: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue")]
    out = BytesIO()
    frames[0].save(out, kind, save_all=True, append_images=frames[1:])
    refusal = refusal_of(out.getvalue())
    assert (refusal.reason, "animated; send a still picture" in refusal.detail) == (UploadRefusal.UNREADABLE, True)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP"]), st.binary(min_size=1, max_size=40), st.integers(0, 5000))
def test_any_bytes_are_accepted_or_refused_with_a_reason(kind: Any, noise: Any, at: Any) -> None:
    data = bytearray(encoded(kind))
    at %= len(data)
    data[at : at + len(noise)] = noise
    try:
        photo = prepare(bytes(data), LIMITS)
    except UploadRefusedError:
        return
    assert photo.width * photo.height <= LIMITS.max_pixels


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(noise: Any) -> None:
    assert refusal_of(noise).reason in (
        UploadRefusal.EMPTY,
        UploadRefusal.WRONG_TYPE,
        UploadRefusal.TRUNCATED,
        UploadRefusal.UNREADABLE,
    )
