"""Pictures of photos: thumbnails, sheets of thumbnails, and how sharp a photo is."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

__all__ = ["as_data_url", "sharpness", "sheet", "thumbnail"]

_MEASURED_SIDE = 512
"""Longer side in pixels at which sharpness is measured, so that photos of different sizes compare."""
_GAP, _CAPTION = 8, 20


def thumbnail(photo: Path, side: int) -> Image.Image:
    """The upright photo in RGB, at most `side` pixels wide and high. Raises `OSError` for a damaged photo."""
    with Image.open(photo) as image:
        image.draft("RGB", (side, side))
        upright = ImageOps.exif_transpose(image).convert("RGB")
        upright.thumbnail((side, side))
        return upright


def sharpness(photo: Path) -> float | None:
    """Variance of the Laplacian of the grey photo at 512 pixels; None for a damaged photo."""
    try:
        grey = np.asarray(thumbnail(photo, _MEASURED_SIDE).convert("L"), np.float32)
    except (OSError, ValueError, SyntaxError):
        return None
    if min(grey.shape) < 3:
        return 0.0
    centre = grey[1:-1, 1:-1]
    return float((4 * centre - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]).var())


def as_data_url(picture: Image.Image) -> str:
    """The picture as a JPEG that stands in the page itself."""
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def sheet(pictures: Sequence[tuple[Image.Image, str]], side: int, columns: int = 6) -> Image.Image:
    """Pictures of at most `side` pixels in rows, each above its caption."""
    columns = max(1, min(columns, len(pictures)))
    rows = -(-len(pictures) // columns)
    width, height = side + _GAP, side + _CAPTION + _GAP
    canvas = Image.new("RGB", (columns * width + _GAP, max(rows, 1) * height + _GAP), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=12)
    for number, (picture, caption) in enumerate(pictures):
        left, top = _GAP + number % columns * width, _GAP + number // columns * height
        canvas.paste(picture, (left + (side - picture.width) // 2, top + (side - picture.height) // 2))
        draw.text((left, top + side + 3), _fitted(caption, draw, font, side), fill="#1c2024", font=font)
    return canvas


def _fitted(text: str, draw: ImageDraw.ImageDraw, font: Any, width: int) -> str:
    while text and draw.textlength(text, font=font) > width:
        text = f"{text[:-2]}…" if len(text) > 2 else ""
    return text
