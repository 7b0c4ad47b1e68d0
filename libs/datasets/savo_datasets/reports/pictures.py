"""Pictures of labelled photos: thumbnails with their boxes, and sheets of thumbnails."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from savo_datasets.labels import TruthBox

__all__ = ["as_data_url", "class_colours", "draw_boxes", "sharpness", "sheet", "thumbnail"]

_PALETTE = (
    "#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#f032e6", "#9a6324", "#808000", "#000075",
)  # fmt: skip
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


def class_colours(classes: Sequence[str]) -> dict[str, str]:
    """A colour for each class. Colours repeat after ten classes."""
    return {name: _PALETTE[number % len(_PALETTE)] for number, name in enumerate(classes)}


def draw_boxes(picture: Image.Image, boxes: Sequence[TruthBox], colours: Mapping[str, str]) -> None:
    """Draw boxes with their class names."""
    size = max(11, picture.width // 28)
    canvas, font = ImageDraw.Draw(picture), ImageFont.load_default(size=size)
    for box in boxes:
        left, top, right, bottom = box.bbox.to_pixels(picture.width - 1, picture.height - 1)
        colour = colours.get(box.label, _PALETTE[0])
        canvas.rectangle((left, top, right, bottom), outline=colour, width=max(2, picture.width // 160))
        height = size + 4
        above = max(0.0, top - height)
        canvas.rectangle((left, above, left + canvas.textlength(box.label, font=font) + 6, above + height), fill=colour)
        canvas.text((left + 3, above + 1), box.label, fill="white", font=font)


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
