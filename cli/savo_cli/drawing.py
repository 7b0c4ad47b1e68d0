"""A photo with the boxes of its scan."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from savo_contracts.geometry import BoundingBox

__all__ = ["draw_boxes"]

_LONGEST_SIDE = 1600


def draw_boxes(photo: Path, items: Sequence[dict[str, Any]], output: Path) -> None:
    """`items` as the gateway answers them. The photo is turned upright first: boxes are of the upright photo. Raises `OSError`, `ValueError`."""
    with Image.open(photo) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    canvas = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(12, picture.width // 60))
    for item in items:
        if item["bbox"] is not None:
            _draw(canvas, picture.size, item, font)
    output.parent.mkdir(parents=True, exist_ok=True)
    picture.save(output)


def _draw(canvas: ImageDraw.ImageDraw, size: tuple[int, int], item: dict[str, Any], font: Any) -> None:
    corners = BoundingBox(**item["bbox"]).to_pixels(*size)
    colour = _colour(item["label"])
    canvas.rectangle(corners, outline=colour, width=max(2, size[0] // 300))
    words = f"{item['name']} {item['confidence']:.2f}"
    left, top = corners[0], max(0.0, corners[1] - font.size - 6)
    canvas.rectangle((left, top, left + canvas.textlength(words, font=font) + 6, top + font.size + 6), fill=colour)
    canvas.text((left + 3, top + 2), words, fill="white", font=font)


def _colour(label: str) -> tuple[int, int, int]:
    """The same label has the same colour in every photo."""
    red, green, blue = colorsys.hsv_to_rgb(zlib.crc32(label.encode()) % 360 / 360, 0.85, 0.75)
    return int(red * 255), int(green * 255), int(blue * 255)
