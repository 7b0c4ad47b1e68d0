"""Boxes drawn on photos: all labels in the colours of their classes, or the labels in doubt in one colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from colorsys import hls_to_rgb

from PIL import Image, ImageColor, ImageDraw, ImageFont

from savo_contracts.geometry import BoundingBox
from savo_datasets.labels import TruthBox
from savo_datasets.reports.doubts import MarkedBox

__all__ = ["ALARM", "class_colours", "draw_boxes", "draw_marked"]

ALARM, _GREY = "#d9322b", "#8a8f98"
_LIGHTNESSES = (0.45, 0.3, 0.6)
"""Of classes with neighbouring hues, so that many classes can still be told apart."""
_DASH = 6


def class_colours(classes: Sequence[str]) -> dict[str, str]:
    """A colour of its own for each class: hues at equal distances."""
    count = len(classes)
    return {name: _colour(number / count, number % len(_LIGHTNESSES)) for number, name in enumerate(classes)}


def draw_boxes(picture: Image.Image, boxes: Sequence[TruthBox], colours: Mapping[str, str]) -> None:
    """Draw boxes with their class names."""
    for box in boxes:
        sides, colour = _pixels(picture, box.bbox), colours.get(box.label, ALARM)
        ImageDraw.Draw(picture).rectangle(sides, outline=colour, width=max(2, picture.width // 160))
        _draw_caption(picture, sides[:2], box.label, colour)


def draw_marked(picture: Image.Image, boxes: Sequence[TruthBox], marked: Sequence[MarkedBox]) -> None:
    """Draw marked labels thick and suggestions dashed, with their captions, above the other labels in thin grey."""
    canvas = ImageDraw.Draw(picture)
    emphasised = {mark.bbox for mark in marked}
    for box in boxes:
        if box.bbox not in emphasised:
            canvas.rectangle(_pixels(picture, box.bbox), outline=_GREY, width=1)
    labels = [mark for mark in marked if not mark.is_suggestion]
    suggestions = [mark for mark in marked if mark.is_suggestion]
    for mark in labels:
        canvas.rectangle(_pixels(picture, mark.bbox), outline=ALARM, width=max(4, picture.width // 80))
    for mark in suggestions:
        _draw_dashed(canvas, _pixels(picture, mark.bbox))
    for mark in labels:
        _draw_caption(picture, _pixels(picture, mark.bbox)[:2], mark.caption, ALARM)
    for mark in suggestions:
        left, _, _, bottom = _pixels(picture, mark.bbox)
        below = min(bottom + _caption_height(picture), picture.height)
        _draw_caption(picture, (left, below), mark.caption, ALARM)


def _pixels(picture: Image.Image, box: BoundingBox) -> tuple[float, float, float, float]:
    return box.to_pixels(picture.width - 1, picture.height - 1)


def _colour(hue: float, shade: int) -> str:
    red, green, blue = (round(255 * part) for part in hls_to_rgb(hue, _LIGHTNESSES[shade], 0.9))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _caption_size(picture: Image.Image) -> int:
    return max(11, picture.width // 28)


def _caption_height(picture: Image.Image) -> int:
    return _caption_size(picture) + 4


def _draw_caption(picture: Image.Image, foot: tuple[float, float], text: str, colour: str) -> None:
    """Draw text on a ground of `colour` whose left bottom corner is `foot`, moved into the picture where needed."""
    canvas, font = ImageDraw.Draw(picture), ImageFont.load_default(size=_caption_size(picture))
    width, height = canvas.textlength(text, font=font) + 6, _caption_height(picture)
    left, top = max(0.0, min(foot[0], picture.width - width)), max(0.0, foot[1] - height)
    canvas.rectangle((left, top, left + width, top + height), fill=colour)
    canvas.text((left + 3, top + 1), text, fill=_text_colour(colour), font=font)


def _text_colour(ground: str) -> str:
    red, green, blue = ImageColor.getrgb(ground)[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def _draw_dashed(canvas: ImageDraw.ImageDraw, sides: tuple[float, float, float, float]) -> None:
    """White below the dashes, so that they are visible on a label's thick box as well."""
    left, top, right, bottom = sides
    canvas.rectangle(sides, outline="white", width=2)
    for start in range(int(left), int(right) + 1, 2 * _DASH):
        for y in (top, bottom - 1):
            canvas.rectangle((start, y, min(start + _DASH, right), y + 1), fill=ALARM)
    for start in range(int(top), int(bottom) + 1, 2 * _DASH):
        for x in (left, right - 1):
            canvas.rectangle((x, start, x + 1, min(start + _DASH, bottom)), fill=ALARM)
