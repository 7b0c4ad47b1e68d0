"""Decoding of photos: formats, orientations, colour modes, scaled decoding and refusals."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageChops

from savo_detection.errors import PhotoError, PhotoTooLargeError, UnreadablePhotoError
from savo_detection.photos.decoding import decode, probe

pillow_heif.register_heif_opener()

Draw = Callable[..., bytes]

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
UPRIGHT = [RED, GREEN, BLUE, WHITE]

TRANSPOSED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a picture is stored for each EXIF orientation."""


def quarter_colours(pixels: Any) -> list[Any]:
    """Colours in the middle of the four quarters."""
    height, width = pixels.shape[:2]
    return [pixels[int(height * y), int(width * x)].tolist() for y in (0.25, 0.75) for x in (0.25, 0.75)]


def has_colours(pixels: Any, expected: list[Any], tolerance: int = 40) -> bool:
    differences = np.asarray(quarter_colours(pixels), int) - np.asarray(expected, int)
    return bool((np.abs(differences) <= tolerance).all())


def rotated(fmt: str, orientation: int) -> bytes:
    image = Image.fromarray(decode(_plain(60, 40)))
    if (step := TRANSPOSED[orientation]) is not None:
        image = image.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, fmt, exif=exif, **({"lossless": True} if fmt == "WEBP" else {}))
    return buffer.getvalue()


def _plain(width: int, height: int) -> bytes:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = RED, GREEN
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = BLUE, WHITE
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_every_supported_format_gives_the_same_picture(photo: Draw, fmt: str) -> None:
    data = photo(fmt=fmt, **({"quality": 95} if fmt != "PNG" else {}))
    pixels = decode(data)
    assert pixels.shape == (48, 64, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert has_colours(pixels, UPRIGHT)
    assert probe(data).media_type == {"HEIF": "image/heic"}.get(fmt, f"image/{fmt.lower()}")


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_decoded_upright(fmt: str, orientation: int) -> None:
    data = rotated(fmt, orientation)
    facts = probe(data)
    assert (facts.width, facts.height, facts.orientation) == (60, 40, orientation)
    pixels = decode(data)
    assert pixels.shape == (40, 60, 3)
    assert has_colours(pixels, UPRIGHT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_that_is_decoded_at_a_smaller_scale_is_upright(orientation: int) -> None:
    pixels = decode(rotated("JPEG", orientation), target_side=30)
    assert pixels.shape == (20, 30, 3)
    assert has_colours(pixels, UPRIGHT)


def exif_block(orientation: int, *, order: str = ">", kind: str = "SHORT") -> bytes:
    """An EXIF block with the orientation as the standard's SHORT or as another type that some programs write."""
    number, form = {"BYTE": (1, "B3x"), "SHORT": (3, "H2x"), "LONG": (4, "I"), "SLONG": (9, "i")}[kind]
    mark = b"MM" if order == ">" else b"II"
    return mark + struct.pack(order + "HIHHHI" + form, 42, 8, 1, 0x0112, number, 1, orientation)


def with_exif(fmt: str, *blocks: bytes) -> bytes:
    """A photo of 60 × 40 stored pixels with these EXIF blocks."""
    buffer = io.BytesIO()
    Image.fromarray(decode(_plain(60, 40))).save(buffer, fmt, **({"lossless": True} if fmt == "WEBP" else {}))
    data = buffer.getvalue()
    if fmt == "JPEG":
        segments = [b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block for block in blocks]
        return data[:2] + b"".join(segments) + data[2:]
    if fmt == "PNG":
        return data[:33] + b"".join(chunk(b"eXIf", block) for block in blocks) + data[33:]
    canvas = b"VP8X" + struct.pack("<II", 10, 8) + (59).to_bytes(3, "little") + (39).to_bytes(3, "little")
    chunks = [b"EXIF" + struct.pack("<I", len(block)) + block + bytes(len(block) % 2) for block in blocks]
    body = b"WEBP" + canvas + data[12:] + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("order", [">", "<"], ids=["big-endian", "little-endian"])
@pytest.mark.parametrize("kind", ["BYTE", "SHORT", "LONG", "SLONG"])
def test_orientation_is_read_from_every_integer_type(fmt: str, order: str, kind: str) -> None:
    data = with_exif(fmt, exif_block(6, order=order, kind=kind))
    facts = probe(data)
    assert (facts.width, facts.height, facts.orientation) == (40, 60, 6)
    assert decode(data).shape == (60, 40, 3)


@pytest.mark.parametrize("kind", ["BYTE", "SHORT", "LONG", "SLONG"])
@pytest.mark.parametrize("orientation", [0, 9])
def test_an_invalid_orientation_of_any_type_means_upright(kind: str, orientation: int) -> None:
    assert probe(with_exif("JPEG", exif_block(orientation, kind=kind))).orientation == 1


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("first", "second"), [(6, 1), (1, 6), (8, 3)])
def test_the_first_of_several_exif_blocks_is_used(fmt: str, first: int, second: int) -> None:
    assert probe(with_exif(fmt, exif_block(first), exif_block(second))).orientation == first


def test_without_exif_a_photo_is_upright(photo: Draw) -> None:
    for fmt in ("JPEG", "PNG", "WEBP", "HEIF"):
        assert b"Exif" not in photo(fmt=fmt)
        assert probe(photo(fmt=fmt)).orientation == 1


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_invalid_orientation_means_upright(photo: Draw, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = photo(exif=exif)
    assert probe(data).orientation == 1
    assert has_colours(decode(data), UPRIGHT)


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\xff", b"Exif\0\0XX\0*\0\0\0\x08\0\x01"])
def test_a_photo_with_invalid_exif_is_decoded(photo: Draw, exif: bytes) -> None:
    data = photo()
    with_exif = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    assert probe(with_exif).orientation == 1
    assert has_colours(decode(with_exif), UPRIGHT)


def test_a_heic_with_rotation_in_container_and_exif_is_rotated_once() -> None:
    image = Image.fromarray(decode(_plain(64, 48))).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, "HEIF", exif=exif.tobytes(), quality=95)
    facts, pixels = probe(buffer.getvalue()), decode(buffer.getvalue())
    assert (facts.width, facts.height) == (64, 48)
    assert pixels.shape == (48, 64, 3)
    assert has_colours(pixels, UPRIGHT)


@pytest.mark.parametrize(
    ("fmt", "mode", "expected"),
    [
        ("PNG", "P", UPRIGHT),
        ("PNG", "RGBA", UPRIGHT),
        ("PNG", "L", [(76,) * 3, (150,) * 3, (29,) * 3, WHITE]),
        ("PNG", "LA", [(76,) * 3, (150,) * 3, (29,) * 3, WHITE]),
        ("JPEG", "L", [(76,) * 3, (150,) * 3, (29,) * 3, WHITE]),
        ("JPEG", "CMYK", UPRIGHT),
        ("WEBP", "RGBA", UPRIGHT),
    ],
)
def test_every_colour_mode_becomes_rgb(photo: Draw, fmt: str, mode: str, expected: list[Any]) -> None:
    assert has_colours(decode(photo(fmt=fmt, mode=mode)), expected)


def test_one_bit_and_sixteen_bit_greys_keep_their_brightness() -> None:
    ramp = np.repeat(np.linspace(0, 65535, 64, dtype=np.uint16)[None], 32, axis=0)
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    deep = decode(buffer.getvalue())
    assert np.abs(deep[0, :, 0].astype(int) - np.linspace(0, 255, 64)).max() <= 2
    buffer = io.BytesIO()
    Image.fromarray(ramp > 32768).save(buffer, "PNG")
    flat = decode(buffer.getvalue())
    assert (flat[0, 0].tolist(), flat[0, -1].tolist()) == ([0] * 3, [255] * 3)


def test_a_dark_sixteen_bit_photo_stays_dark() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), 200, np.uint16)).save(buffer, "PNG")
    assert decode(buffer.getvalue()).max() == 0


@pytest.mark.parametrize(
    ("colours", "depth"),
    [
        (0, 1),
        (0, 2),
        (0, 4),
        (0, 8),
        (0, 16),
        (2, 8),
        (2, 16),
        (3, 1),
        (3, 2),
        (3, 4),
        (3, 8),
        (4, 8),
        (4, 16),
        (6, 8),
        (6, 16),
    ],
)
def test_a_png_of_every_colour_type_and_depth_is_the_same_picture(colours: int, depth: int) -> None:
    assert has_colours(decode(black_and_white_png(colours, depth)), [WHITE, BLACK, WHITE, BLACK], tolerance=0)


def black_and_white_png(colours: int, depth: int, side: int = 16) -> bytes:
    """A PNG with a white left and a black right half, written by hand because Pillow does not write all types.

    `colours`: PNG's colour type (grey, RGB, palette, grey and RGB with an opaque alpha).
    """
    channels, alpha = {0: (1, 0), 2: (3, 0), 3: (1, 0), 4: (1, 1), 6: (3, 1)}[colours]
    maximum = 2**depth - 1
    white = [0 if colours == 3 else maximum] * channels + [maximum] * alpha
    black = [1 if colours == 3 else 0] * channels + [maximum] * alpha
    row = "".join(f"{value:0{depth}b}" for value in (white * (side // 2) + black * (side // 2)))
    rows = (b"\0" + int(row, 2).to_bytes(len(row) // 8)) * side
    palette = chunk(b"PLTE", bytes((*WHITE, *BLACK))) if colours == 3 else b""
    header = struct.pack(">IIBBBBB", side, side, depth, colours, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + palette
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_ycck_jpeg_has_its_colours() -> None:
    """YCCK, as Photoshop writes it: the complement's YCbCr and an inverted black.

    Pillow writes CMYK only, so the marker of YCCK is set by hand.
    """
    complement = ImageChops.invert(Image.fromarray(decode(_plain(64, 48)))).convert("YCbCr")
    planes = [ImageChops.invert(plane) for plane in complement.split()]
    buffer = io.BytesIO()
    Image.merge("CMYK", [*planes, Image.new("L", complement.size, 0)]).save(buffer, "JPEG", quality=95, subsampling=0)
    data = bytearray(buffer.getvalue())
    data[data.index(b"Adobe") + 11] = 2
    assert has_colours(decode(bytes(data)), UPRIGHT)


def test_a_jpeg_with_rgb_components_is_not_converted_again(photo: Draw) -> None:
    assert has_colours(decode(photo(keep_rgb=True, quality=95)), UPRIGHT)


def test_a_ten_bit_heic_and_a_grey_heic_keep_their_brightness(photo: Draw) -> None:
    ramp = np.repeat(np.linspace(0, 65535, 64, dtype=np.uint16)[None, :, None], 64, axis=0).repeat(3, axis=2)
    buffer = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", (64, 64), ramp.tobytes()).save(buffer, quality=-1)
    assert pillow_heif.open_heif(buffer, convert_hdr_to_8bit=False).info["bit_depth"] == 10
    assert np.abs(decode(buffer.getvalue())[0, :, 0].astype(int) - np.linspace(0, 255, 64)).max() <= 2
    assert has_colours(decode(photo(fmt="HEIF", mode="L", quality=95)), [(76,) * 3, (150,) * 3, (29,) * 3, WHITE])


@pytest.mark.parametrize(
    ("fmt", "save"),
    [("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True, "exact": True}), ("HEIF", {"quality": 90})],
    ids=["PNG", "WebP", "lossless WebP", "HEIC"],
)
def test_transparent_parts_become_white(fmt: str, save: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (64, 64), (200, 0, 0, 0)).save(buffer, fmt, **save)
    assert decode(buffer.getvalue()).tolist() == np.full((64, 64, 3), 255).tolist()


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "HEIF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_tall_photo_is_decoded_completely(fmt: str, mode: str) -> None:
    rows = np.linspace(0, 255, 700).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.broadcast_to(rows[:, None, None], (700, 8, 3)).copy()).convert(mode).save(
        buffer, fmt, quality=95
    )
    assert np.abs(decode(buffer.getvalue())[:, 4, 1].astype(int) - rows).max() <= 6


def test_an_opaque_webp_has_the_pixels_of_pillow() -> None:
    noise = Image.fromarray(np.random.default_rng(5).integers(0, 255, (90, 120, 3), dtype=np.uint8))
    for lossless in (True, False):
        buffer = io.BytesIO()
        noise.save(buffer, "WEBP", lossless=lossless)
        assert (decode(buffer.getvalue()) == np.asarray(Image.open(buffer).convert("RGB"))).all()


@pytest.mark.parametrize(
    ("target", "shape"),
    [(None, (1200, 1600)), (640, (600, 800)), (400, (300, 400)), (100, (150, 200)), (1601, (1200, 1600))],
)
def test_a_large_jpeg_is_decoded_at_the_smallest_sufficient_scale(
    photo: Draw, target: int | None, shape: tuple[int, int]
) -> None:
    pixels = decode(photo(1600, 1200), target_side=target)
    assert pixels.shape[:2] == shape
    assert has_colours(pixels, UPRIGHT)


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "HEIF"])
def test_other_formats_than_jpeg_keep_their_size(photo: Draw, fmt: str) -> None:
    assert decode(photo(400, 300, fmt), target_side=100).shape == (300, 400, 3)


def test_a_cmyk_jpeg_is_decoded_at_a_smaller_scale(photo: Draw) -> None:
    pixels = decode(photo(1600, 1200, mode="CMYK"), target_side=300)
    assert 300 <= max(pixels.shape) < 1600
    assert has_colours(pixels, UPRIGHT)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "HEIF"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_photo_is_refused_wherever_it_ends(photo: Draw, fmt: str, share: float) -> None:
    rng = np.random.default_rng(7)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (200, 300, 3), dtype=np.uint8)).save(buffer, fmt)
    data = buffer.getvalue()
    with pytest.raises(PhotoError) as caught:
        decode(data[: int(len(data) * share)])
    assert caught.value.code in {"photo-unreadable", "photo-type"}


def test_a_progressive_jpeg_and_a_jpeg_with_bytes_after_its_end_are_decoded(photo: Draw) -> None:
    assert has_colours(decode(photo(progressive=True, quality=95)), UPRIGHT)
    assert has_colours(decode(photo() + b"motion photo trailer" * 100), UPRIGHT)


def test_the_end_marker_of_a_thumbnail_is_not_taken_for_the_photos(photo: Draw) -> None:
    data, thumbnail = photo(), photo(16, 16)
    segment = b"Exif\0\0" + b"II*\0\x08\0\0\0\0\0" + thumbnail
    with_thumbnail = data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    assert has_colours(decode(with_thumbnail), UPRIGHT)
    with pytest.raises(UnreadablePhotoError, match="cut short"):
        decode(with_thumbnail[:-40])


def test_the_caller_sets_the_pixel_limit(photo: Draw) -> None:
    assert decode(photo(100, 100), max_pixels=10_000).shape == (100, 100, 3)
    with pytest.raises(PhotoTooLargeError):
        decode(photo(101, 100), max_pixels=10_000)


def test_the_error_for_damaged_data_names_the_format(photo: Draw) -> None:
    data = bytearray(photo(400, 300, "PNG"))
    data[60:90] = bytes(30)
    with pytest.raises(UnreadablePhotoError, match="PNG data is damaged or cut short"):
        decode(bytes(data))
