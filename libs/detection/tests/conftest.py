"""Fixtures: drawn photos."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photo() -> Callable[..., bytes]:
    """Bytes of a drawn picture: quarters red, green, blue, white, in any of Pillow's formats and modes."""

    def draw(width: int = 64, height: int = 48, fmt: str = "JPEG", mode: str = "RGB", **save: Any) -> bytes:
        buffer = io.BytesIO()
        quarters(width, height).convert(mode).save(buffer, fmt, **save)
        return buffer.getvalue()

    return draw


def quarters(width: int, height: int) -> Image.Image:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = (255, 255, 255)
    return Image.fromarray(pixels)
