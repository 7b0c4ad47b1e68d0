"""Folders as the app's API has stored them: what is read, counted and left out, and hostile content."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from savo_datasets import app_folder
from savo_datasets.errors import DatasetError
from savo_datasets.found_photos import FoundPhotos
from savo_datasets.groups import Grouping
from savo_datasets.preparation import find_photos, prepare
from savo_datasets.yolo_folder import read_data_yaml, split_photos
from tests.parts.app_folder import app_label, store_photo

SIZE = (100, 50)
BOX = {"x": 10.0, "y": 10.0, "width": 50.0, "height": 20}
EGG = {"class": "eggs", "bbox": BOX}


def photo_of(number: int, size: tuple[int, int] = SIZE, orientation: int | None = None) -> bytes:
    """A JPEG with random pixels, so that photos do not look alike."""
    pixels = bytes(hashlib.shake_128(str(number).encode()).digest(9 * 8))
    picture = Image.frombytes("L", (9, 8), pixels).resize(size, Image.Resampling.NEAREST)
    exif, out = Image.Exif(), BytesIO()
    if orientation:
        exif[0x0112] = orientation
    picture.save(out, "JPEG", exif=exif)
    return out.getvalue()


def store(folder: Path, number: int, *items: dict[str, Any], user: str | None = "user-0", **changes: Any) -> str:
    """A photo with a label of these items. `changes`: other values of the label's keys."""
    photo = photo_of(number)
    return store_photo(folder, photo, app_label(photo, SIZE, items or (EGG,), user) | changes)


def names_left_out(found: FoundPhotos) -> dict[str, list[str]]:
    """Files left out by reason, without details."""
    return {reason: [file.split(": ")[0] for file in files] for reason, files in found.left_out.files.items()}


def test_names_become_labels_of_the_catalogue_and_classes_are_the_labels_that_occur(tmp_path: Path) -> None:
    items = [{"class": name, "bbox": BOX} for name in ("Oat Milk", "eggs", "zucchini", "Egg", "dragonstone")]
    store(tmp_path, 1, *items, {"class": "Garlic"})
    found = find_photos(tmp_path)
    assert found.classes == ("courgette", "dragonstone", "egg", "oat_milk")
    assert [line.split()[0] for line in found.photos[0].labels.splitlines()] == ["3", "2", "0", "2", "1"]
    assert found.unknown_classes == ("dragonstone",)


def test_photos_with_an_item_without_a_box_are_counted_in_their_split(tmp_path: Path) -> None:
    unboxed = {store(tmp_path / "in", number, EGG, {"class": "garlic"}, user=f"user-{number}") for number in (2, 5)}
    for number in (1, 3, 4, 6):
        store(tmp_path / "in", number, user=f"user-{number}")
    prepared = prepare(find_photos(tmp_path / "in"), tmp_path / "out", (0.4, 0.3, 0.3), Grouping(), 0)
    for split, count in prepared.unboxed.items():
        assert count == len({path.stem for path in (tmp_path / "out/images" / split).glob("*")} & unboxed)
    assert sum(prepared.unboxed.values()) == 2


def test_boxes_in_pixels_become_fractions_of_the_photo(tmp_path: Path) -> None:
    store(tmp_path, 1)
    assert find_photos(tmp_path).photos[0].labels == "0 0.350000 0.400000 0.500000 0.400000\n"


def test_a_label_of_the_photo_in_another_scale_is_read(tmp_path: Path) -> None:
    large = {"class": "egg", "bbox": {name: value * 4 for name, value in BOX.items()}}
    store(tmp_path, 1, large, image_width=400, image_height=200)
    assert find_photos(tmp_path).photos[0].labels == "0 0.350000 0.400000 0.500000 0.400000\n"


def test_boxes_are_of_the_upright_photo(tmp_path: Path) -> None:
    upright, stored = (photo_of(number, orientation=6) for number in (1, 2))
    store_photo(tmp_path, upright, app_label(upright, (50, 100), [EGG | {"bbox": BOX | {"width": 30.0}}]))
    left_out = store_photo(tmp_path, stored, app_label(stored, SIZE, [EGG]))
    found = find_photos(tmp_path)
    assert [photo.path.read_bytes() for photo in found.photos] == [upright]
    reason = "image_width and image_height are not the photo's"
    file = f"labels/2025-12/{left_out}.json: 100×50, the upright photo is 50×100"
    assert found.left_out.files == {reason: [file]}


def test_items_without_a_box_are_counted_and_never_make_a_background(tmp_path: Path) -> None:
    kept = store(tmp_path, 1, EGG, {"class": "garlic"}, {"class": "onion"})
    left_out = store(tmp_path, 2, {"class": "garlic"})
    background = store(tmp_path, 3, annotations=[])
    found = find_photos(tmp_path)
    assert {photo.path.stem: photo.labels.count("\n") for photo in found.photos} == {kept: 1, background: 0}
    assert found.counted == {"items without a box": 2, "photos whose label lists no item": 1}
    assert names_left_out(found) == {"no item has a box": [f"labels/2025-12/{left_out}.json"]}
    assert found.classes == ("egg",)


def test_a_user_becomes_a_random_subject_and_the_id_is_not_written(tmp_path: Path) -> None:
    for number in range(9):
        store(tmp_path / "in", number, user=None if number == 8 else f"alice-{number // 2}@example.com")
    found = find_photos(tmp_path / "in")
    assert (len(found.groups), len(set(found.groups.values()))) == (8, 4)
    prepare(found, tmp_path / "out", (0.5, 0.25, 0.25), Grouping(look_alikes=None, named=found.groups), 0)
    texts = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file() and path.suffix != ".jpg"]
    assert not any(b"alice" in text or b"Pixel" in text for text in texts)
    again = find_photos(tmp_path / "in")
    assert set(found.groups.values()).isdisjoint(again.groups.values())
    prepare(again, tmp_path / "again", (0.5, 0.25, 0.25), Grouping(look_alikes=None, named=again.groups), 0)
    assert splits(tmp_path / "out") == splits(tmp_path / "again"), "the same seed gives the same splits"


def splits(folder: Path) -> dict[str, str]:
    return {path.stem: path.parent.name for path in (folder / "images").rglob("*.jpg")}


def test_photos_of_too_few_people_are_written_with_a_warning(tmp_path: Path) -> None:
    for number in range(4):
        store(tmp_path / "in", number)
    found = find_photos(tmp_path / "in")
    prepared = prepare(found, tmp_path / "out", (0.7, 0.2, 0.1), Grouping(named=found.groups), 0)
    assert sum(prepared.counts.values()) == 4
    assert "test has no photo: train needs each group that is left: label more" in prepared.table.warnings


def test_photo_and_label_of_different_months_belong_together(tmp_path: Path) -> None:
    photo = photo_of(1)
    store_photo(tmp_path, photo, None, "2025-12")
    store_photo(tmp_path, None, app_label(photo, SIZE, [EGG]), "2026-01", name=hashlib.sha256(photo).hexdigest())
    assert len(find_photos(tmp_path).photos) == 1


def test_a_photo_or_label_that_is_stored_twice_is_read_once(tmp_path: Path) -> None:
    photo = photo_of(1)
    name = store_photo(tmp_path, photo, app_label(photo, SIZE, [EGG]), "2025-12")
    store_photo(tmp_path, photo, app_label(photo, SIZE, [EGG | {"class": "milk"}]), "2026-01")
    store_photo(tmp_path, photo, app_label(photo, SIZE, [EGG]), name=f"z{name}")
    found = find_photos(tmp_path)
    assert (len(found.photos), found.classes) == (1, ("milk",))
    assert names_left_out(found) == {
        "a later label of the same photo is used": [f"labels/2025-12/{name}.json"],
        "the same photo is stored again": [f"images/2025-12/{name}.jpg"],
        "the same file twice": [f"images/2025-12/z{name}.jpg"],
    }


def test_parts_without_their_other_half_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    store(tmp_path, 1)
    alone, lost, cut = photo_of(2), photo_of(3), photo_of(4)
    without_label = store_photo(tmp_path, alone, None)
    without_photo = store_photo(tmp_path, None, app_label(lost, SIZE, [EGG]), name=hashlib.sha256(lost).hexdigest())
    text = str(app_label(cut, SIZE, [EGG])).replace("'", '"').replace("None", "null")
    cut_label = store_photo(tmp_path, cut, text[:200])
    found = find_photos(tmp_path)
    assert len(found.photos) == 1
    assert names_left_out(found) == {
        "no label file": [f"images/2025-12/{without_label}.jpg"],
        "label without a photo": [f"labels/2025-12/{without_photo}.json"],
        "label is not valid JSON": [f"labels/2025-12/{cut_label}.json"],
    }


NOT_OF_THE_FORM = "label is not of the app's form"
NO_AREA = "a box is outside its photo or has no area"


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("", "label is not valid JSON"),
        ("not JSON", "label is not valid JSON"),
        (b"\xff\xfe{}", "label is not valid JSON"),
        ("[" * 100_000, "label is not valid JSON"),
        ("[]", NOT_OF_THE_FORM),
        ({"annotations": {}}, NOT_OF_THE_FORM),
        ({"annotations": ["eggs"]}, NOT_OF_THE_FORM),
        ({"annotations": [{"class": 5, "bbox": BOX}]}, NOT_OF_THE_FORM),
        ({"annotations": [{"class": "!?", "bbox": BOX}]}, NOT_OF_THE_FORM),
        ({"annotations": [{"class": "x" * 300, "bbox": BOX}]}, NOT_OF_THE_FORM),
        ({"annotations": [{"class": "egg", "bbox": [1, 2, 3, 4]}]}, NOT_OF_THE_FORM),
        ({"annotations": [{"class": "egg", "bbox": BOX | {"x": "10"}}]}, NOT_OF_THE_FORM),
        ({"annotations": [{"class": "egg", "bbox": BOX | {"x": float("nan")}}]}, NOT_OF_THE_FORM),
        ({"annotations": [{"class": "egg", "bbox": BOX | {"width": float("inf")}}]}, NOT_OF_THE_FORM),
        ({"annotations": [{"class": "egg", "bbox": BOX | {"width": 10**400}}]}, NOT_OF_THE_FORM),
        ({"annotations": [{"class": "egg", "bbox": BOX | {"width": -50}}]}, NO_AREA),
        ({"annotations": [{"class": "egg", "bbox": BOX | {"height": 0}}]}, NO_AREA),
        ({"annotations": [{"class": "egg", "bbox": BOX | {"height": 0.4}}]}, NO_AREA),
        ({"annotations": [{"class": "egg", "bbox": BOX | {"x": 100}}]}, NO_AREA),
        ({"annotations": [{"class": "egg", "bbox": BOX | {"x": -49.0}}]}, NO_AREA),
        ({"annotations": [{"class": "egg", "bbox": BOX | {"width": 1e308, "height": 1e308}}]}, NO_AREA),
        ({"annotations": [EGG, {"class": "egg", "bbox": BOX | {"y": 1e9}}]}, NO_AREA),
        ({"image_width": 0}, NOT_OF_THE_FORM),
        ({"image_width": True}, NOT_OF_THE_FORM),
        ({"image_width": 80}, "image_width and image_height are not the photo's"),
        ({"image_hash": 7}, NOT_OF_THE_FORM),
        ({"image_hash": "0" * 64}, "image_hash is not the photo's sha256"),
        ({"metadata": {"user_id": ["alice"]}}, NOT_OF_THE_FORM),
        ({"metadata": "none"}, NOT_OF_THE_FORM),
        (" " * app_folder.MAX_LABEL_BYTES + "{}", "larger than 1 MiB"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_label_that_cannot_be_used_is_left_out_and_the_rest_is_read(
    tmp_path: Path, label: dict[str, Any] | str | bytes, reason: str
) -> None:
    kept, photo = store(tmp_path, 1), photo_of(2)
    content = app_label(photo, SIZE, [EGG]) | label if isinstance(label, dict) else label
    store_photo(tmp_path, photo, content)
    found = find_photos(tmp_path)
    assert [item.path.stem for item in found.photos] == [kept]
    assert found.left_out.counts() == {reason: 1}
    assert (found.classes, found.counted) == (("egg",), {})


def test_a_box_that_is_a_little_too_large_is_clipped_and_counted(tmp_path: Path) -> None:
    store(tmp_path, 1, {"class": "egg", "bbox": {"x": -10, "y": 0, "width": 60, "height": 55.5}})
    found = find_photos(tmp_path)
    assert found.photos[0].labels == "0 0.250000 0.500000 0.500000 1.000000\n"
    assert found.counted == {"boxes clipped to their photo": 1}


@pytest.mark.parametrize(
    ("create", "reason"),
    [
        (lambda photo: photo.write_bytes(photo_of(2)[:-20]), "image_hash is not the photo's sha256"),
        (lambda photo: photo.write_bytes(bytes(app_folder.MAX_PHOTO_BYTES + 1)), "larger than 32 MiB"),
        (Path.mkdir, "not a file"),
        (os.mkfifo, "not a file"),
        (lambda photo: photo.symlink_to("/dev/zero"), "not a file"),
        (lambda photo: photo.symlink_to("nowhere"), "not a file"),
    ],
)
def test_a_photo_that_cannot_be_used_is_left_out_and_the_rest_is_read(
    tmp_path: Path, create: Callable[[Path], object], reason: str
) -> None:
    kept, broken = (store(tmp_path, number) for number in (1, 2))
    photo = tmp_path / "images/2025-12" / f"{broken}.jpg"
    photo.unlink()
    create(photo)
    found = find_photos(tmp_path)
    assert [item.path.stem for item in found.photos] == [kept]
    assert names_left_out(found) == {reason: [f"images/2025-12/{broken}.jpg"]}


def test_content_that_is_no_photo_or_too_large_a_picture_is_left_out(tmp_path: Path) -> None:
    store(tmp_path, 1)
    out = BytesIO()
    Image.new("L", (1, 1)).save(out, "BMP")
    size = (20_000, 10_000)
    giant = out.getvalue()[:18] + struct.pack("<ii", *size) + out.getvalue()[26:]
    for content in (b"<html>", giant):
        store_photo(tmp_path, content, app_label(content, size, [EGG]))
    found = find_photos(tmp_path)
    assert found.left_out.counts() == {"unreadable photo": 1, "too many pixels": 1}


def test_a_folder_without_a_usable_photo_is_an_error_with_reasons_and_files(tmp_path: Path) -> None:
    name = store_photo(tmp_path, photo_of(1), "{")
    with pytest.raises(DatasetError, match=r"no usable photo \(1 label is not valid JSON\)") as refused:
        find_photos(tmp_path)
    assert f"labels/2025-12/{name}.json" in refused.value.next_steps[0]


def test_names_of_files_cannot_control_a_terminal(tmp_path: Path) -> None:
    store(tmp_path, 1)
    store_photo(tmp_path, photo_of(2), None, name="\x1b[2J\nnext: \udcff")
    ((file,),) = find_photos(tmp_path).left_out.files.values()
    assert file == r"images/2025-12/\x1b[2J\nnext: \udcff.jpg"


def test_a_folder_with_class_names_is_read_in_yolo_form(tmp_path: Path) -> None:
    store(tmp_path, 1)
    (tmp_path / "classes.txt").write_text("tomato\n", encoding="utf-8")
    photo = next((tmp_path / "images").rglob("*.jpg"))
    (tmp_path / "labels/2025-12" / f"{photo.stem}.txt").write_text("0 0.5 0.5 0.2 0.2\n", encoding="utf-8")
    assert find_photos(tmp_path).classes == ("tomato",)


def test_the_data_set_has_the_boxes_of_the_labels(tmp_path: Path) -> None:
    for number in range(6):
        store(tmp_path / "in", number, user=f"user-{number}")
    found = find_photos(tmp_path / "in")
    prepared = prepare(found, tmp_path / "out", (0.5, 0.25, 0.25), Grouping(look_alikes=None, named=found.groups), 0)
    (photo, *_) = split_photos(read_data_yaml(prepared.data), "val")
    (box,) = photo.truth
    assert box.label == "egg"
    assert box.bbox.to_pixels(*SIZE) == pytest.approx((10, 10, 60, 30), abs=0.01)
    assert photo.group.startswith("subject-")
