from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from savo_cli.scans.drawing import colours_of, draw_boxes, place_tags
from savo_detection.errors import UnsupportedPhotoError

GREY = (128, 128, 128)
SIZE = (600, 400)


def item(label: str, bbox: tuple[float, float, float, float] | None, pieces: float | None = 1.0) -> dict[str, Any]:
    box = dict(zip(("x", "y", "width", "height"), bbox, strict=True)) if bbox else None
    return {
        "label": label,
        "name": label.replace("_", " "),
        "confidence": 0.9,
        "bbox": box,
        "quantity_estimate": pieces,
        "storage_hint": None,
    }


def grey_photo(path: Path, size: tuple[int, int] = SIZE, **options: Any) -> Path:
    Image.new("RGB", size, GREY).save(path, **options)
    return path


def drawn(photo: Path, *items: dict[str, Any]) -> Image.Image:
    output = photo.with_name("drawn.png")
    draw_boxes(photo, items, output)
    with Image.open(io.BytesIO(output.read_bytes())) as picture:
        return picture.convert("RGB")


def overlapping(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return min(one[2], other[2]) > max(one[0], other[0]) and min(one[3], other[3]) > max(one[1], other[1])


def test_a_box_is_drawn_in_its_label_s_colour_and_what_is_in_it_stays_seen(tmp_path: Path) -> None:
    picture = drawn(grey_photo(tmp_path / "photo.png"), item("milk", (0.25, 0.5, 0.5, 0.4)))
    assert picture.size == SIZE
    assert picture.getpixel((150, 300)) == ImageColor.getrgb(colours_of(["milk"])["milk"])
    assert picture.getpixel((300, 280)) == GREY


def test_a_label_has_its_colour_in_every_photo_and_shares_it_with_no_other_of_the_same_photo() -> None:
    labels = [f"label_{number}" for number in range(16)]
    assert len(set(colours_of(labels).values())) == 16
    assert len(colours_of([*labels, "one_more"])) == 17
    assert colours_of(["egg"])["egg"] == colours_of(["egg", "egg"])["egg"]


def test_words_of_things_that_lie_on_each_other_do_not() -> None:
    boxes = [
        (100.0, 100.0, 200.0, 200.0),
        (105.0, 102.0, 210.0, 190.0),
        (95.0, 98.0, 190.0, 210.0),
        (100.0, 100.0, 200.0, 200.0),
    ]
    places = place_tags(boxes, [80.0] * 4, 18.0, SIZE)
    assert not any(overlapping(one, other) for one, other in combinations(places, 2))


sides = st.floats(0, 550)


@given(st.lists(st.tuples(sides, sides, st.floats(1, 300), st.floats(1, 300)), max_size=12), st.floats(10, 200))
def test_words_stay_within_the_picture(corners: list[tuple[float, float, float, float]], width: float) -> None:
    boxes = [(x, min(y, 390.0), min(600.0, x + w), min(400.0, y + h)) for x, y, w, h in corners]
    for left, top, right, bottom in place_tags(boxes, [width] * len(boxes), 18.0, SIZE):
        assert 0 <= left < right <= SIZE[0] + 1e-6
        assert 0 <= top < bottom <= SIZE[1] + 1e-6


def test_what_was_named_without_a_box_stands_under_the_photo(tmp_path: Path) -> None:
    picture = drawn(grey_photo(tmp_path / "photo.png"), item("rice", None), item("salt", None, 2.0))
    assert picture.width == SIZE[0]
    foot = picture.crop((0, SIZE[1], *picture.size))
    assert foot.height > 12
    assert foot.getextrema()[0] == (0, 255)
    assert picture.crop((0, 0, *SIZE)).getextrema() == ((128, 128),) * 3


def test_a_turned_photo_is_drawn_upright_as_its_boxes_are(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = drawn(grey_photo(tmp_path / "turned.jpg", exif=exif), item("milk", (0.5, 0.5, 0.4, 0.4)))
    assert picture.size == (SIZE[1], SIZE[0])


def test_a_heic_photo_is_drawn_too(tmp_path: Path) -> None:
    import pillow_heif

    path = tmp_path / "photo.heic"
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), GREY)).save(path)
    assert drawn(path, item("milk", (0.1, 0.1, 0.5, 0.5))).size == (64, 48)


def test_a_large_photo_is_drawn_small_enough_to_look_at(tmp_path: Path) -> None:
    assert drawn(grey_photo(tmp_path / "large.jpg", (4000, 3000)), item("milk", (0.1, 0.1, 0.5, 0.5))).size == (
        1600,
        1200,
    )


def test_what_is_no_photo_is_not_drawn(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("eggs, milk")
    with pytest.raises(UnsupportedPhotoError):
        draw_boxes(tmp_path / "notes.txt", [], tmp_path / "drawn.png")
