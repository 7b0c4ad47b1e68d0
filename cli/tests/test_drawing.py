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


def overlapping(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    side_by_side = min(first[2], second[2]) <= max(first[0], second[0])
    above = min(first[3], second[3]) <= max(first[1], second[1])
    return not side_by_side and not above


def test_a_box_has_its_label_s_colour_and_its_inside_stays_visible(tmp_path: Path) -> None:
    picture = drawn(grey_photo(tmp_path / "photo.png"), item("milk", (0.25, 0.5, 0.5, 0.4)))
    assert picture.size == SIZE
    assert picture.getpixel((150, 300)) == ImageColor.getrgb(colours_of(["milk"])["milk"])
    assert picture.getpixel((300, 280)) == GREY


def test_a_label_has_the_same_colour_in_every_photo_and_its_own_in_each() -> None:
    labels = [f"label_{number}" for number in range(16)]
    assert len(set(colours_of(labels).values())) == 16
    assert len(colours_of([*labels, "one_more"])) == 17
    assert colours_of(["egg"])["egg"] == colours_of(["egg", "egg"])["egg"]


def test_texts_of_overlapping_boxes_do_not_overlap() -> None:
    boxes = [
        (100.0, 100.0, 200.0, 200.0),
        (105.0, 102.0, 210.0, 190.0),
        (95.0, 98.0, 190.0, 210.0),
        (100.0, 100.0, 200.0, 200.0),
    ]
    places = place_tags(boxes, [80.0] * 4, 18.0, SIZE)
    assert not any(overlapping(first, second) for first, second in combinations(places, 2))


sides = st.floats(0, 550)


@given(st.lists(st.tuples(sides, sides, st.floats(1, 300), st.floats(1, 300)), max_size=12), st.floats(10, 200))
def test_texts_stay_inside_the_picture(corners: list[tuple[float, float, float, float]], width: float) -> None:
    boxes = [(x, min(y, 390.0), min(600.0, x + w), min(400.0, y + h)) for x, y, w, h in corners]
    for left, top, right, bottom in place_tags(boxes, [width] * len(boxes), 18.0, SIZE):
        assert 0 <= left < right <= SIZE[0] + 1e-6
        assert 0 <= top < bottom <= SIZE[1] + 1e-6


def test_items_without_a_box_are_listed_below_the_photo(tmp_path: Path) -> None:
    picture = drawn(grey_photo(tmp_path / "photo.png"), item("rice", None), item("salt", None, 2.0))
    assert picture.width == SIZE[0]
    footer = picture.crop((0, SIZE[1], *picture.size))
    assert footer.height > 12
    assert footer.getextrema()[0] == (0, 255)
    assert picture.crop((0, 0, *SIZE)).getextrema() == ((128, 128),) * 3


def test_a_rotated_photo_is_drawn_upright_as_its_boxes_are(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = drawn(grey_photo(tmp_path / "turned.jpg", exif=exif), item("milk", (0.5, 0.5, 0.4, 0.4)))
    assert picture.size == (SIZE[1], SIZE[0])


def test_a_heic_photo_is_drawn_too(tmp_path: Path) -> None:
    import pillow_heif

    path = tmp_path / "photo.heic"
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), GREY)).save(path)
    assert drawn(path, item("milk", (0.1, 0.1, 0.5, 0.5))).size == (64, 48)


def test_a_large_photo_is_scaled_down(tmp_path: Path) -> None:
    assert drawn(grey_photo(tmp_path / "large.jpg", (4000, 3000)), item("milk", (0.1, 0.1, 0.5, 0.5))).size == (
        1600,
        1200,
    )


def test_a_file_that_is_no_photo_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("eggs, milk")
    with pytest.raises(UnsupportedPhotoError):
        draw_boxes(tmp_path / "notes.txt", [], tmp_path / "drawn.png")
