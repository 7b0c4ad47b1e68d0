"""Removal of metadata (EXIF, GPS, XMP, ICC, comments) from JPEG, PNG and WebP."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from savo_detection.errors import PhotoError, TruncatedPhotoError, UnreadablePhotoError
from savo_detection.photos.metadata import strip_metadata

FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
SECRETS = (b"GPS-SECRET", b"XMP-SECRET", b"COMMENT-SECRET", b"Camera of Anna", b"TRAILER-SECRET")
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
"""Created once: it contains its creation time, which changes the length of a compressed copy."""
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">XMP-SECRET</x:xmpmeta>'


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = "Camera of Anna"
    gps = block.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4] = "N", (52.0, 31.0, 12.0), "E", (13.0, 24.0, 18.0)
    gps[0x1D] = "GPS-SECRET"
    return block


def photo_with_metadata(kind: str, orientation: int, *, size: tuple[int, int] = (40, 24), seed: int = 0) -> bytes:
    """A photo with all metadata that phones and editors write."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    options: dict[str, Any] = {"exif": exif(orientation), "icc_profile": PROFILE}
    if kind == "PNG":
        notes = PngInfo()
        notes.add_text("Comment", "COMMENT-SECRET")
        notes.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options["pnginfo"] = notes
    else:
        options["xmp"] = XMP
    if kind == "JPEG":
        options |= {"comment": b"COMMENT-SECRET", "progressive": bool(seed % 2), "quality": 85}
    out = BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue() + b"TRAILER-SECRET"


def upright(data: bytes) -> np.ndarray:
    with Image.open(BytesIO(data)) as picture:
        return np.asarray(ImageOps.exif_transpose(picture))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("media_type", FORMATS)
def test_metadata_is_removed_and_pixels_and_orientation_are_kept(media_type: Any, orientation: Any) -> None:
    before = photo_with_metadata(FORMATS[media_type], orientation)
    after = strip_metadata(before, orientation)
    assert not [secret for secret in SECRETS if secret in after]
    np.testing.assert_array_equal(upright(after), upright(before))
    with Image.open(BytesIO(after)) as picture:
        kept = picture.getexif()
        assert dict(kept) == ({} if orientation == 1 else {0x0112: orientation})
        assert dict(kept.get_ifd(0x8825)) == {}
        assert picture.info.get("icc_profile")


@pytest.mark.parametrize("media_type", FORMATS)
def test_removing_metadata_twice_changes_nothing_more(media_type: Any) -> None:
    once = strip_metadata(photo_with_metadata(FORMATS[media_type], 6), 6)
    assert strip_metadata(once, 6) == once


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(FORMATS)), st.integers(1, 8), st.integers(1, 70), st.integers(1, 70), st.integers(0, 9))
def test_pixels_are_the_same_for_any_size_and_orientation(
    media_type: Any, orientation: Any, width: Any, height: Any, seed: Any
) -> None:
    before = photo_with_metadata(FORMATS[media_type], orientation, size=(width, height), seed=seed)
    np.testing.assert_array_equal(upright(strip_metadata(before, orientation)), upright(before))


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(FORMATS)), st.data())
def test_a_photo_truncated_anywhere_is_refused_as_truncated(media_type: Any, data: Any) -> None:
    stripped = strip_metadata(photo_with_metadata(FORMATS[media_type], 1))
    length = data.draw(st.integers(24, len(stripped) - 1))
    with pytest.raises(TruncatedPhotoError):
        strip_metadata(stripped[:length])


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(FORMATS)),
    st.lists(st.tuples(st.integers(2, 400), st.integers(0, 255)), min_size=1, max_size=6),
    st.booleans(),
)
def test_a_damaged_container_is_refused_or_stripped(media_type: Any, damage: Any, truncate: Any) -> None:
    data = bytearray(photo_with_metadata(FORMATS[media_type], 6)[: 60 if truncate else None])
    for at, value in damage:
        data[at % len(data)] = value
    try:
        stripped = strip_metadata(bytes(data), 6)
    except PhotoError:
        return
    assert b"GPS-SECRET" not in stripped or _has_no_gps(stripped)


def _has_no_gps(stripped: bytes) -> bool:
    # With a damaged marker or name, metadata can be in a part that has to be kept: no reader finds it there.
    try:
        with Image.open(BytesIO(stripped)) as picture:
            return not picture.getexif().get_ifd(0x8825)
    except (OSError, SyntaxError, ValueError):
        return True


def test_a_jpeg_keeps_adobes_colour_transform() -> None:
    out = BytesIO()
    Image.new("CMYK", (16, 16), (10, 200, 30, 40)).save(out, "JPEG")
    before = out.getvalue()
    assert b"Adobe" in before
    np.testing.assert_array_equal(upright(strip_metadata(before)), upright(before))


def test_a_second_picture_after_the_first_is_dropped() -> None:
    first, second = photo_with_metadata("JPEG", 1), photo_with_metadata("JPEG", 1, seed=2)
    assert strip_metadata(first + second) == strip_metadata(first)


def test_transparency_is_kept() -> None:
    for kind in ("PNG", "WEBP"):
        out = BytesIO()
        Image.new("RGBA", (9, 9), (200, 10, 10, 99)).save(out, kind, lossless=True)
        np.testing.assert_array_equal(upright(strip_metadata(out.getvalue())), upright(out.getvalue()))


@pytest.mark.parametrize("position", ["before the picture", "before its end"])
def test_a_file_with_too_many_parts_is_refused(position: str) -> None:
    photo = photo_with_metadata("JPEG", 1)
    offset = 2 if position == "before the picture" else photo.rindex(b"\xff\xd9")
    with pytest.raises(UnreadablePhotoError, match="more than 100,000 parts"):
        strip_metadata(photo[:offset] + b"\xff\x01" * 200_000 + photo[offset:])
