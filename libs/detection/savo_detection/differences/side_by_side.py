"""A picture of what changed between two answers for one photo: one answer's boxes left, the other's right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from savo_contracts.geometry import BoundingBox
from savo_detection.differences.comparison import ChangeDict
from savo_detection.photos.decoding import decode

__all__ = ["COLOURS", "SIDE", "draw_side_by_side"]

SIDE = 720
"""Longest side of each half, pixels."""

COLOURS = {"same": "#8a8f98", "moved": "#2f6fde", "relabelled": "#a13fd1", "gained": "#1f9d55", "lost": "#d9322b"}

_HEAD = 34
_GAP = 8
_DASH = 7


def draw_side_by_side(
    photo: bytes,
    changes: Iterable[ChangeDict],
    headings: tuple[str, str],
    output: Path,
    *,
    truth: Sequence[BoundingBox] = (),
) -> None:
    """Written as `output`'s ending says. `truth`: boxes that are dashed on both halves. Raises `PhotoError`s."""
    picture = Image.fromarray(decode(photo, target_side=SIDE))
    picture.thumbnail((SIDE, SIDE))
    width, height = picture.size
    sheet = Image.new("RGB", (2 * width + _GAP, height + _HEAD), "white")
    font, listed = ImageFont.load_default(size=max(11, width // 45)), list(changes)
    for at, side, heading in ((0, "before", headings[0]), (width + _GAP, "after", headings[1])):
        half = picture.copy()
        for box in truth:
            _dashed(half, box)
        for change in listed:
            if change[side] and change[side]["bbox"]:
                _draw(half, change[side], COLOURS[change["kind"]], font)
        sheet.paste(half, (at, _HEAD))
        ImageDraw.Draw(sheet).text((at + 6, 8), heading, fill="black", font=ImageFont.load_default(size=15))
    output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(output, quality=85)


def _draw(half: Image.Image, thing: Mapping[str, Any], colour: str, font: Any) -> None:
    canvas = ImageDraw.Draw(half)
    left, top, right, bottom = BoundingBox(**thing["bbox"]).to_pixels(*half.size)
    canvas.rectangle((left, top, right, bottom), outline=colour, width=max(2, half.width // 240))
    words = f"{thing['label']} {thing['confidence']:.2f}"
    above = max(0.0, top - font.size - 5)
    canvas.rectangle((left, above, left + canvas.textlength(words, font=font) + 6, above + font.size + 5), fill=colour)
    canvas.text((left + 3, above + 1), words, fill="white", font=font)


def _dashed(half: Image.Image, box: BoundingBox) -> None:
    """Black and white in turn, so that it is seen on every photo."""
    canvas = ImageDraw.Draw(half)
    left, top, right, bottom = box.to_pixels(*half.size)
    for x in _steps(left, right):
        for y in (top, bottom):
            canvas.line((x, y, min(x + _DASH, right), y), fill=_turn(x - left), width=2)
    for y in _steps(top, bottom):
        for x in (left, right):
            canvas.line((x, y, x, min(y + _DASH, bottom)), fill=_turn(y - top), width=2)


def _steps(first: float, last: float) -> list[float]:
    return [first + _DASH * number for number in range(int((last - first) // _DASH) + 1)]


def _turn(distance: float) -> str:
    return "white" if int(distance // _DASH) % 2 else "black"
