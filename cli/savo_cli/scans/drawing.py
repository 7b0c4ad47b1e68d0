"""Drawing of a scan's boxes on its photo."""

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

_MAX_SIDE = 1600

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
"""Sixteen colours that are easy to distinguish, from Sasha Trubetskoy's list."""

Rectangle = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""


@dataclass(frozen=True)
class Tag:
    """The text of a box and its rectangle."""

    text: str
    colour: str
    place: Rectangle


@dataclass(frozen=True)
class _Style:
    """Sizes in pixels, in proportion to the picture."""

    font: Any
    line: int
    margin: int

    @classmethod
    def of(cls, size: tuple[int, int]) -> _Style:
        font_size = max(12, max(size) // 60)
        return cls(ImageFont.load_default(size=font_size), max(2, max(size) // 300), max(3, font_size // 4))

    @property
    def tag_height(self) -> float:
        return float(self.font.size + 2 * self.margin)


def draw_boxes(photo: Path, items: Sequence[dict[str, Any]], output: Path) -> None:
    """Draw the items of a scan's result on its photo, which is shown upright, as the boxes are.

    Raises `OSError`, and `ValueError` for a file that is no photo.
    """
    picture = Image.fromarray(decode(photo.read_bytes(), target_side=_MAX_SIDE))
    picture.thumbnail((_MAX_SIDE, _MAX_SIDE))
    style, colours = _Style.of(picture.size), colours_of(item["label"] for item in items)
    boxed = [(item, BoundingBox(**item["bbox"]).to_pixels(*picture.size)) for item in items if item["bbox"] is not None]
    canvas = ImageDraw.Draw(picture)
    for item, corners in boxed:
        _outline(canvas, corners, colours[item["label"]], style)
    # After all outlines, so that no line crosses a text.
    for tag in _tags(boxed, colours, picture.size, style):
        _write(canvas, tag, style)
    output.parent.mkdir(parents=True, exist_ok=True)
    _with_footer(picture, [item for item in items if item["bbox"] is None], style).save(output)


def colours_of(labels: Iterable[str]) -> dict[str, str]:
    """A colour for each label: the same in every photo, unless another label of this photo already has it."""
    colours: dict[str, str] = {}
    for label in sorted(set(labels)):
        first = zlib.crc32(label.encode()) % len(_COLOURS)
        choices = [_COLOURS[(first + step) % len(_COLOURS)] for step in range(len(_COLOURS))]
        colours[label] = next((colour for colour in choices if colour not in colours.values()), choices[0])
    return colours


def place_tags(
    boxes: Sequence[Rectangle], widths: Sequence[float], height: float, size: tuple[int, int]
) -> list[Rectangle]:
    """Rectangles for the texts of the boxes: above, in or below the box, with the least overlap with earlier texts.

    `widths` and `height` are those of the texts, `size` is the picture's, all in pixels.
    """
    taken: list[Rectangle] = []
    for box, width in zip(boxes, widths, strict=True):
        places = [_inside(place, size) for place in _places(box, width, height)]
        taken.append(min(places, key=lambda place: sum(_overlap(place, other) for other in taken)))
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


def _overlap(first: Rectangle, second: Rectangle) -> float:
    """Square pixels."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(0.0, width) * max(0.0, height)


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
    """`cherry tomato x6 0.90`; a single piece has no count. Pillow's own font has no multiplication sign."""
    pieces = item["quantity_estimate"] or 1
    count = "" if pieces == 1 else f" x{pieces:g}"
    return f"{item['name']}{count} {item['confidence']:.2f}"


def _outline(canvas: ImageDraw.ImageDraw, corners: Rectangle, colour: str, style: _Style) -> None:
    """With a border of contrasting brightness, so that a yellow box is visible around a lemon."""
    left, top, right, bottom = corners
    canvas.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_readable_on(colour), width=style.line + 2)
    canvas.rectangle(corners, outline=colour, width=style.line)


def _write(canvas: ImageDraw.ImageDraw, tag: Tag, style: _Style) -> None:
    canvas.rectangle(tag.place, fill=tag.colour)
    middle = tag.place[0] + style.margin, (tag.place[1] + tag.place[3]) / 2
    canvas.text(middle, tag.text, fill=_readable_on(tag.colour), font=style.font, anchor="lm")


def _readable_on(colour: str) -> str:
    """Black or white, by perceived brightness (ITU-R BT.601)."""
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def _with_footer(picture: Image.Image, unboxed: Sequence[Mapping[str, Any]], style: _Style) -> Image.Image:
    """The picture with the items that have no box listed below it."""
    if not unboxed:
        return picture
    columns = max(20, int(picture.width / style.font.getlength("n")))
    lines = textwrap.wrap(f"without a box: {', '.join(_tag_text(item) for item in unboxed)}", columns)
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
