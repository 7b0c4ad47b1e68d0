"""Side-by-side picture of two answers for a photo: the first answer's boxes left, the second answer's boxes right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from savo_contracts.geometry import BoundingBox
from savo_detection.differences.comparison import ChangeDict
from savo_detection.photos.decoding import decode

__all__ = ["COLOURS", "GAP", "SIDE", "draw_side_by_side"]

SIDE = 720
"""Longer side of each half in pixels."""

COLOURS = {"same": "#8a8f98", "moved": "#2f6fde", "relabelled": "#a13fd1", "gained": "#1f9d55", "lost": "#d9322b"}

_HEAD = 34
GAP = 8
"""Pixels between the halves."""
_DASH = 7


def draw_side_by_side(
    photo: bytes,
    changes: Iterable[ChangeDict],
    headings: tuple[str, str],
    output: Path,
    *,
    truth: Sequence[BoundingBox] = (),
) -> tuple[int, int]:
    """Draw the picture and write it to `output`, in the format of its suffix. Returns width and height of a half.

    `truth`: labelled boxes, drawn dashed on both halves. Raises `PhotoError`.
    """
    picture = Image.fromarray(decode(photo, target_side=SIDE))
    picture.thumbnail((SIDE, SIDE))
    width, height = picture.size
    sheet = Image.new("RGB", (2 * width + GAP, height + _HEAD), "white")
    font, listed = ImageFont.load_default(size=max(11, width // 45)), list(changes)
    for at, side, heading in ((0, "before", headings[0]), (width + GAP, "after", headings[1])):
        half = picture.copy()
        for box in truth:
            _draw_dashed(half, box)
        for change in listed:
            if change[side] and change[side]["bbox"]:
                _draw_item(half, change[side], COLOURS[change["kind"]], font)
        sheet.paste(half, (at, _HEAD))
        ImageDraw.Draw(sheet).text((at + 6, 8), heading, fill="black", font=ImageFont.load_default(size=15))
    output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(output, quality=85)
    return width, sheet.height


def _draw_item(half: Image.Image, item: Mapping[str, Any], colour: str, font: Any) -> None:
    canvas = ImageDraw.Draw(half)
    left, top, right, bottom = BoundingBox(**item["bbox"]).to_pixels(*half.size)
    canvas.rectangle((left, top, right, bottom), outline=colour, width=max(2, half.width // 240))
    caption = item["label"] if item["confidence"] is None else f"{item['label']} {item['confidence']:.2f}"
    above = max(0.0, top - font.size - 5)
    caption_right = left + canvas.textlength(caption, font=font) + 6
    canvas.rectangle((left, above, caption_right, above + font.size + 5), fill=colour)
    canvas.text((left + 3, above + 1), caption, fill="white", font=font)


def _draw_dashed(half: Image.Image, box: BoundingBox) -> None:
    """Draw a box with alternating black and white dashes, which are visible on every photo."""
    canvas = ImageDraw.Draw(half)
    left, top, right, bottom = box.to_pixels(*half.size)
    for x in _dash_starts(left, right):
        for y in (top, bottom):
            canvas.line((x, y, min(x + _DASH, right), y), fill=_dash_colour(x - left), width=2)
    for y in _dash_starts(top, bottom):
        for x in (left, right):
            canvas.line((x, y, x, min(y + _DASH, bottom)), fill=_dash_colour(y - top), width=2)


def _dash_starts(first: float, last: float) -> list[float]:
    return [first + _DASH * number for number in range(int((last - first) // _DASH) + 1)]


def _dash_colour(distance: float) -> str:
    return "white" if int(distance // _DASH) % 2 else "black"
