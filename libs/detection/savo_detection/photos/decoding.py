"""Decoding of photos to upright RGB pixels, and `probe`, which reads a photo's type and size without decoding it.

A JPEG is decoded at 1/2, 1/4 or 1/8 of its size (DCT scaling) when the network's input is that much smaller: that
takes less than half the time for 12 megapixels. The pixel limit is checked on the header, before memory is allocated.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image

from savo_detection.errors import PhotoTooLargeError, UnreadablePhotoError
from savo_detection.photos.headers import Header, read_header

__all__ = ["MAX_PIXELS", "PhotoFacts", "Pixels", "decode", "probe"]

MAX_PIXELS = 50_000_000
"""Default limit of a photo's pixels."""

_TRANSPOSED = frozenset({5, 6, 7, 8})
"""EXIF orientations that exchange width and height."""
_STRIP_ROWS = 256

Pixels = NDArray[np.uint8]
"""Height × width × 3, RGB, upright, contiguous."""

# OpenCV's flags by reduction factor. They contain no colour bit: IMREAD_COLOR_RGB sets the order of the channels.
_REDUCTION_FLAGS = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    1: 0,
}


@dataclass(frozen=True)
class PhotoFacts:
    """Type, size and orientation of a photo."""

    media_type: str
    width: int
    """Width of the upright picture in pixels."""
    height: int
    """Height of the upright picture in pixels."""
    orientation: int
    """EXIF orientation of the stored picture, 1…8."""


def probe(data: bytes, *, max_pixels: int = MAX_PIXELS) -> PhotoFacts:
    """Type, size and orientation of a photo, from its container. Detects a missing end, but no damaged pixels.

    Raises `PhotoError`.
    """
    header = _checked_header(data, max_pixels)
    width, height = header.width, header.height
    if header.orientation in _TRANSPOSED:
        width, height = height, width
    return PhotoFacts(header.media_type, width, height, header.orientation)


def decode(data: bytes, *, target_side: int | None = None, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Upright RGB pixels of a photo. Raises `PhotoError`.

    `target_side`: in pixels; a JPEG may be decoded at a smaller scale, with its longer side at least this.
    """
    header = _checked_header(data, max_pixels)
    has_plain_colours = header.channels in (1, 3)
    decoder = _decode_with_opencv if has_plain_colours else _decode_with_pillow
    return _upright(decoder(data, header, target_side), header.orientation)


def _checked_header(data: bytes, max_pixels: int) -> Header:
    header = read_header(data)
    for width, height in ((header.width, header.height), header.largest):
        if width * height > max_pixels:
            raise PhotoTooLargeError(width, height, max_pixels)
    return header


def _decode_with_opencv(data: bytes, header: Header, target_side: int | None) -> Pixels:
    """For grey or RGB pictures without transparency: faster than Pillow and with less memory."""
    factor = _reduction(max(header.width, header.height), target_side) if header.media_type == "image/jpeg" else 1
    flags = _REDUCTION_FLAGS[factor] | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise _damaged(header) from error
    if pixels is None:
        raise _damaged(header)
    return np.asarray(pixels, np.uint8)


def _damaged(header: Header) -> UnreadablePhotoError:
    return UnreadablePhotoError(f"its {header.media_type.removeprefix('image/').upper()} data is damaged or cut short")


def _reduction(longer_side: int, target_side: int | None) -> int:
    """The largest reduction factor (8, 4, 2, 1) with which the longer side is at least the target."""
    if target_side is None:
        return 1
    return next((factor for factor in (8, 4, 2) if longer_side >= factor * target_side), 1)


def _decode_with_pillow(data: bytes, header: Header, target_side: int | None) -> Pixels:
    try:
        if header.media_type == "image/heic":
            return _pixels(pillow_heif.open_heif(data).to_pillow())
        with Image.open(io.BytesIO(data), formats=(header.media_type.removeprefix("image/").upper(),)) as image:
            if target_side is not None:
                image.draft(None, (target_side, target_side))
            return _pixels(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as bomb:
        raise PhotoTooLargeError(header.width, header.height, MAX_PIXELS) from bomb
    # Pillow and libheif raise each of these on damaged files.
    except (OSError, ValueError, SyntaxError, RuntimeError, EOFError, IndexError, TypeError, MemoryError) as error:
        raise _damaged(header) from error


def _pixels(image: Image.Image) -> Pixels:
    # Strip by strip: the intermediate steps of a full conversion take three times the memory of source and result.
    image.load()
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _STRIP_ROWS):
        strip = image.crop((0, top, image.width, min(top + _STRIP_ROWS, image.height)))
        pixels[top : top + strip.height] = np.asarray(_rgb(strip))
    return pixels


def _rgb(image: Image.Image) -> Image.Image:
    """An image of any of Pillow's modes as RGB. Transparent parts become white, 16-bit greys keep their upper byte."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")
    return image.convert("RGB")


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation (TIFF 6.0, tag 274)."""
    if orientation in _TRANSPOSED:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
