"""Downscaled JPEG of a photo, for providers that charge by the pixel."""

from __future__ import annotations

import cv2
import numpy as np

from savo_detection.photos.decoding import Pixels, decode

__all__ = ["downscaled_jpeg"]

QUALITY = 85


def downscaled_jpeg(photo: bytes, max_side: int, *, quality: int = QUALITY) -> bytes:
    """The photo as an upright JPEG without metadata, with at most `max_side` pixels a side. Raises `PhotoError`."""
    pixels = decode(photo, target_side=max_side)
    height, width = pixels.shape[:2]
    scale = max_side / max(width, height)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return _encode_jpeg(pixels, quality)


def _encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    is_written, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert is_written, "OpenCV writes any 8-bit RGB picture as JPEG"
    return bytes(data.tobytes())
