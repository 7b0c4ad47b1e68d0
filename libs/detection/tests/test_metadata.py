"""Metadata goes, pixels stay: real EXIF, GPS, XMP, ICC and comments, in all three containers."""

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
"""Once: it holds the second of its making, and a compressed one has another length in the next."""
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">XMP-SECRET</x:xmpmeta>'


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = "Camera of Anna"
    gps = block.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4] = "N", (52.0, 31.0, 12.0), "E", (13.0, 24.0, 18.0)
    gps[0x1D] = "GPS-SECRET"
    return block


def loaded(kind: str, orientation: int, *, size: tuple[int, int] = (40, 24), seed: int = 0) -> bytes:
    """A picture with everything in it that a phone or an editor puts there."""
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
def test_what_was_said_about_the_photo_goes_and_what_is_seen_stays(media_type: Any, orientation: Any) -> None:
    before = loaded(FORMATS[media_type], orientation)
    after = strip_metadata(before, orientation)
    assert not [secret for secret in SECRETS if secret in after]
    np.testing.assert_array_equal(upright(after), upright(before))
    with Image.open(BytesIO(after)) as picture:
        kept = picture.getexif()
        assert dict(kept) == ({} if orientation == 1 else {0x0112: orientation})
        assert dict(kept.get_ifd(0x8825)) == {}
        assert picture.info.get("icc_profile")


@pytest.mark.parametrize("media_type", FORMATS)
def test_cutting_twice_changes_nothing_more(media_type: Any) -> None:
    once = strip_metadata(loaded(FORMATS[media_type], 6), 6)
    assert strip_metadata(once, 6) == once


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(FORMATS)), st.integers(1, 8), st.integers(1, 70), st.integers(1, 70), st.integers(0, 9))
def test_pixels_are_the_same_for_any_size_and_orientation(
    media_type: Any, orientation: Any, width: Any, height: Any, seed: Any
) -> None:
    before = loaded(FORMATS[media_type], orientation, size=(width, height), seed=seed)
    np.testing.assert_array_equal(upright(strip_metadata(before, orientation)), upright(before))


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(FORMATS)), st.data())
def test_a_photo_cut_off_anywhere_is_refused_as_cut_off(media_type: Any, data: Any) -> None:
    whole = strip_metadata(loaded(FORMATS[media_type], 1))
    kept = data.draw(st.integers(24, len(whole) - 1))
    with pytest.raises(TruncatedPhotoError):
        strip_metadata(whole[:kept])


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(FORMATS)),
    st.lists(st.tuples(st.integers(2, 400), st.integers(0, 255)), min_size=1, max_size=6),
    st.booleans(),
)
def test_damaged_containers_are_refused_in_one_way_only(media_type: Any, damage: Any, bare: Any) -> None:
    data = bytearray(loaded(FORMATS[media_type], 6)[: 60 if bare else None])
    for at, value in damage:
        data[at % len(data)] = value
    try:
        cut = strip_metadata(bytes(data), 6)
    except PhotoError:
        return
    assert b"GPS-SECRET" not in cut or _damaged_into_pixels(bytes(data), cut)


def _damaged_into_pixels(data: bytes, cut: bytes) -> bool:
    """A damaged marker or name can turn metadata into what has to be kept; then no reader finds it as metadata either."""
    try:
        with Image.open(BytesIO(cut)) as picture:
            return not picture.getexif().get_ifd(0x8825)
    except (OSError, SyntaxError, ValueError):
        return True


def test_a_jpeg_keeps_adobes_colour_transform() -> None:
    out = BytesIO()
    Image.new("CMYK", (16, 16), (10, 200, 30, 40)).save(out, "JPEG")
    before = out.getvalue()
    assert b"Adobe" in before
    np.testing.assert_array_equal(upright(strip_metadata(before)), upright(before))


def test_a_second_picture_behind_the_first_is_dropped() -> None:
    first, second = loaded("JPEG", 1), loaded("JPEG", 1, seed=2)
    assert strip_metadata(first + second) == strip_metadata(first)


def test_transparency_is_kept() -> None:
    for kind in ("PNG", "WEBP"):
        out = BytesIO()
        Image.new("RGBA", (9, 9), (200, 10, 10, 99)).save(out, kind, lossless=True)
        np.testing.assert_array_equal(upright(strip_metadata(out.getvalue())), upright(out.getvalue()))


@pytest.mark.parametrize("where", ["before the picture", "before its end"])
def test_a_file_of_countless_parts_is_refused_before_they_take_memory(where: str) -> None:
    whole = loaded("JPEG", 1)
    at = 2 if where == "before the picture" else whole.rindex(b"\xff\xd9")
    with pytest.raises(UnreadablePhotoError, match="more than 100,000 parts"):
        strip_metadata(whole[:at] + b"\xff\x01" * 200_000 + whole[at:])
