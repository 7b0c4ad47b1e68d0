"""A photo with the boxes of its scan."""

from __future__ import annotations

import textwrap
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image, ImageColor, ImageDraw, ImageFont

from savo_contracts.geometry import BoundingBox
from savo_detection.photos.decoding import decode

__all__ = ["colours_of", "draw_boxes", "place_tags"]

_LONGEST_SIDE = 1600

_COLOURS = (
    *(
        "#e6194b",
        "#3cb44b",
        "#ffe119",
        "#4363d8",
        "#f58231",
        "#911eb4",
        "#42d4f4",
        "#f032e6",
        "#bfef45",
        "#fabed4",
        "#469990",
        "#dcbeff",
    ),
    *("#9a6324", "#800000", "#aaffc3", "#808000"),
)
"""Sixteen that people tell apart, after Sasha Trubetskoy's list."""

Rectangle = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""


@dataclass(frozen=True)
class Tag:
    """The text of one box, and its place."""

    text: str
    colour: str
    place: Rectangle


@dataclass(frozen=True)
class _Style:
    """Sizes in pixels, after the picture's."""

    font: Any
    line: int
    margin: int

    @classmethod
    def of(cls, size: tuple[int, int]) -> _Style:
        letters = max(12, max(size) // 60)
        return cls(ImageFont.load_default(size=letters), max(2, max(size) // 300), max(3, letters // 4))

    @property
    def tag_height(self) -> float:
        return float(self.font.size + 2 * self.margin)


def draw_boxes(photo: Path, items: Sequence[dict[str, Any]], output: Path) -> None:
    """`items` as the gateway answers them. Boxes are of the upright photo, and so is the picture. Raises `OSError`, and `ValueError` for no photo."""
    picture = Image.fromarray(decode(photo.read_bytes(), target_side=_LONGEST_SIDE))
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    style, colours = _Style.of(picture.size), colours_of(item["label"] for item in items)
    boxed = [(item, BoundingBox(**item["bbox"]).to_pixels(*picture.size)) for item in items if item["bbox"] is not None]
    canvas = ImageDraw.Draw(picture)
    for item, corners in boxed:
        _outline(canvas, corners, colours[item["label"]], style)
    # After all outlines, so that no line runs through a word.
    for tag in _tags(boxed, colours, picture.size, style):
        _write(canvas, tag, style)
    output.parent.mkdir(parents=True, exist_ok=True)
    _with_foot(picture, [item for item in items if item["bbox"] is None], style).save(output)


def colours_of(labels: Iterable[str]) -> dict[str, str]:
    """A label has the same colour in every photo, but for the rare one whose colour another label of this photo has already."""
    colours: dict[str, str] = {}
    for label in sorted(set(labels)):
        first = zlib.crc32(label.encode()) % len(_COLOURS)
        turned = [_COLOURS[(first + step) % len(_COLOURS)] for step in range(len(_COLOURS))]
        colours[label] = next((colour for colour in turned if colour not in colours.values()), turned[0])
    return colours


def place_tags(
    boxes: Sequence[Rectangle], widths: Sequence[float], height: float, size: tuple[int, int]
) -> list[Rectangle]:
    """A place in the picture for the text of each box, on none of the texts before it where there is room: above the box, in it, below it."""
    taken: list[Rectangle] = []
    for box, width in zip(boxes, widths, strict=True):
        places = [_inside(place, size) for place in _places(box, width, height)]
        taken.append(min(places, key=lambda place: sum(_shared(place, other) for other in taken)))
    return taken


def _places(box: Rectangle, width: float, height: float) -> Iterator[Rectangle]:
    left, top, right, bottom = box
    rows = chain((top - height, top, bottom - height, bottom), (top + height, bottom - 2 * height))
    for y in rows:
        for x in (left, right - width):
            yield x, y, x + width, y + height


def _inside(place: Rectangle, size: tuple[int, int]) -> Rectangle:
    left, top, right, bottom = place
    x = max(0.0, min(left, size[0] - (right - left)))
    y = max(0.0, min(top, size[1] - (bottom - top)))
    return x, y, x + right - left, y + bottom - top


def _shared(one: Rectangle, other: Rectangle) -> float:
    """Square pixels."""
    return max(0.0, min(one[2], other[2]) - max(one[0], other[0])) * max(
        0.0, min(one[3], other[3]) - max(one[1], other[1])
    )


def _tags(
    boxed: Sequence[tuple[Mapping[str, Any], Rectangle]],
    colours: Mapping[str, str],
    size: tuple[int, int],
    style: _Style,
) -> list[Tag]:
    texts = [_tag_text(item) for item, _ in boxed]
    widths = [style.font.getlength(line) + 2 * style.margin for line in texts]
    places = place_tags([corners for _, corners in boxed], widths, style.tag_height, size)
    return [
        Tag(line, colours[item["label"]], place) for line, (item, _), place in zip(texts, boxed, places, strict=True)
    ]


def _tag_text(item: Mapping[str, Any]) -> str:
    """`cherry tomato x6 0.90`; one piece is not counted. Pillow's own font has no multiplication sign."""
    pieces = item["quantity_estimate"] or 1
    count = "" if pieces == 1 else f" x{pieces:g}"
    return f"{item['name']}{count} {item['confidence']:.2f}"


def _outline(canvas: ImageDraw.ImageDraw, corners: Rectangle, colour: str, style: _Style) -> None:
    """With a rim of the other brightness, so that a yellow box is seen around a lemon too."""
    left, top, right, bottom = corners
    canvas.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_readable_on(colour), width=style.line + 2)
    canvas.rectangle(corners, outline=colour, width=style.line)


def _write(canvas: ImageDraw.ImageDraw, tag: Tag, style: _Style) -> None:
    canvas.rectangle(tag.place, fill=tag.colour)
    middle = tag.place[0] + style.margin, (tag.place[1] + tag.place[3]) / 2
    canvas.text(middle, tag.text, fill=_readable_on(tag.colour), font=style.font, anchor="lm")


def _readable_on(colour: str) -> str:
    """Black or white, by the brightness that eyes see (ITU-R BT.601)."""
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def _with_foot(picture: Image.Image, unboxed: Sequence[Mapping[str, Any]], style: _Style) -> Image.Image:
    """Things that were named without a box stand under the photo."""
    if not unboxed:
        return picture
    letters = max(20, int(picture.width / style.font.getlength("n")))
    lines = textwrap.wrap(f"without a box: {', '.join(_tag_text(item) for item in unboxed)}", letters)
    height = round(style.tag_height * len(lines)) + style.margin
    sheet = Image.new("RGB", (picture.width, picture.height + height), "white")
    sheet.paste(picture)
    canvas = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        canvas.text(
            (style.margin, picture.height + style.margin + number * style.tag_height),
            line,
            fill="black",
            font=style.font,
        )
    return sheet
