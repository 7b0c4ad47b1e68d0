"""Photo bytes → upright RGB pixels, and `probe`, which decodes none.

JPEGs are decoded at 1/2, 1/4 or 1/8 size (DCT scaling) when the network's input is that much smaller: a 12-megapixel
photo costs less than half. The pixel limit is checked on the header, before any memory is taken.
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

_TRANSPOSED = frozenset({5, 6, 7, 8})
"""The orientations that change width and height."""
_STRIP_ROWS = 256

Pixels = NDArray[np.uint8]
"""Height × width × 3, RGB, upright, contiguous."""

# OpenCV's flags for a reduced size. These hold no colour bit: IMREAD_COLOR_RGB gives the order of the channels.
_REDUCTION_FLAGS = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    1: 0,
}


@dataclass(frozen=True)
class PhotoFacts:
    """What a photo is, without decoding it."""

    media_type: str
    width: int
    """Pixels of the upright picture."""
    height: int
    orientation: int
    """EXIF's 1…8, of the picture as stored."""


def probe(data: bytes, *, max_pixels: int = MAX_PIXELS) -> PhotoFacts:
    """Type, size and orientation from the container alone: a missing end is noticed, damaged pixels are not.

    Raises `PhotoError`s.
    """
    header = _checked_header(data, max_pixels)
    width, height = header.width, header.height
    if header.orientation in _TRANSPOSED:
        width, height = height, width
    return PhotoFacts(header.media_type, width, height, header.orientation)


def decode(data: bytes, *, target_side: int | None = None, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Upright RGB pixels.

    With `target_side` (pixels) a JPEG may come smaller, its longer side still at least that. Raises `PhotoError`s.
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
    """Faster than Pillow and with less memory, for pictures in grey or RGB without transparency."""
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
    """The largest of 8, 4, 2, 1 that leaves the longer side at or above the target."""
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
    """A strip of rows at a time: converted at once, the steps in between would take three times the memory of both."""
    image.load()
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _STRIP_ROWS):
        strip = image.crop((0, top, image.width, min(top + _STRIP_ROWS, image.height)))
        pixels[top : top + strip.height] = np.asarray(_rgb(strip))
    return pixels


def _rgb(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes → RGB. Transparent parts become white, 16-bit greys keep their upper byte."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")
    return image.convert("RGB")


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo EXIF's eight ways to hold a camera (TIFF 6.0, tag 274)."""
    if orientation in _TRANSPOSED:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
