"""Import and export: a round trip gives the same files, and nothing is imported twice or lost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from savo_contracts.documents import CLASSES_KEY, ClassList, SampleMeta
from savo_contracts.geometry import BoundingBox
from tests.exports.products import (
    BrokenConnectionError,
    Product,
    label_line,
    running_product,
    unpacked,
    write_photo,
)
from tests.parts.app_folder import app_label, store_photo

_GPS_IFD = 0x8825


@pytest.fixture
async def product() -> AsyncIterator[Product]:
    async with running_product() as product:
        yield product


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six photos in YOLO form; two of them of one person."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "classes.txt").write_text("Tomatoes\nEggs\n")
    (data / "subjects.csv").write_text("name,group\na0,person-1\na1,person-1\n")
    for number in range(6):
        write_photo(data, f"a{number}", label_line(1, number) + label_line(0, number), number)
    return data


def metas(product: Product) -> dict[str, SampleMeta]:
    found = [
        SampleMeta.model_validate_json(content)
        for key, content in product.gateway.objects.items()
        if key.startswith("samples/meta/")
    ]
    return {meta.sha256: meta for meta in found}


def boxes(product: Product) -> dict[str, list[tuple[str, BoundingBox]]]:
    return {sha256: [(box.label, box.bbox) for box in meta.boxes] for sha256, meta in metas(product).items()}


def class_names(product: Product) -> tuple[str, ...]:
    return ClassList.model_validate_json(product.gateway.objects[CLASSES_KEY]).names()


async def test_a_round_trip_gives_the_same_files_or_the_same_names_and_boxes(
    product: Product, folder: Path, tmp_path: Path
) -> None:
    assert (await product.run_import(folder)).photos == {"new": 6}
    assert class_names(product) == ("tomato", "egg")
    archive = await product.export(tmp_path)
    async with running_product() as empty, running_product() as filled:
        assert (await empty.run_import(archive)).photos == {"new": 6}
        second = tmp_path / "second"
        second.mkdir()
        again = await empty.export(second)
        assert unpacked(again) == unpacked(archive)
        assert len(unpacked(again)) == 12

        other = tmp_path / "other"
        other.mkdir()
        (other / "classes.txt").write_text("milk\neggs\n")
        write_photo(other, "b", label_line(0) + label_line(1, 2), 99)
        await filled.run_import(other)
        await filled.run_import(archive)
        assert class_names(filled) == ("milk", "egg", "tomato")
        assert boxes(product).items() <= boxes(filled).items()
        assert len(metas(filled)) == 7


async def test_an_interrupted_import_continues_and_a_repeat_publishes_nothing(product: Product, folder: Path) -> None:
    dry = await product.run_import(folder, dry_run=True)
    assert (dry.photos, dry.boxes, dry.groups, dry.added_classes) == ({"new": 6}, 12, 2, ["tomato", "egg"])
    assert product.gateway.objects == {}

    product.breaks_after = 3
    with pytest.raises(BrokenConnectionError):
        await product.run_import(folder)
    assert len(metas(product)) == 3
    product.breaks_after = None
    report = await product.run_import(folder)
    assert report.photos == {"unchanged": 3, "new": 3}
    assert len(metas(product)) == len({event.scan_id for event in product.confirmed}) == 6
    published = len(product.confirmed)
    assert (await product.run_import(folder)).photos == {"unchanged": 6}
    assert len(product.confirmed) == published
    require_one_random_subject_for_each_group(product)

    (folder / "labels/a2.txt").write_text(label_line(0))
    product.gateway.clock.advance(60)
    assert (await product.run_import(folder)).photos == {"unchanged": 5, "corrected": 1}
    corrected = [meta for meta in metas(product).values() if meta.revision == 2]
    assert [[box.label for box in meta.boxes] for meta in corrected] == [["tomato"]]


def require_one_random_subject_for_each_group(product: Product) -> None:
    """Two photos are of one person, the others are one session."""
    subject = {event.scan_id: event.subject for event in product.confirmed}
    assert sorted(Counter(subject.values()).values()) == [2, 4]
    assert not any("person" in event.model_dump_json() for event in product.confirmed)
    assert {event.experiment for event in product.confirmed} == {None}, "no evidence for a rollout"
    for meta in metas(product).values():
        assert {box.box_source for box in meta.boxes} == {"engineer"}
        assert meta.exhaustive


async def test_photos_with_more_than_their_labels_show_go_to_train(product: Product, folder: Path) -> None:
    report = await product.run_import(folder, exhaustive=False)
    assert report.train_only_groups == report.groups == 2
    assert {(meta.split, meta.exhaustive) for meta in metas(product).values()} == {("train", False)}
    assert product.rejected == []


async def test_metadata_stays_outside_and_what_cannot_be_used_is_named(product: Product, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "classes.txt").write_text("egg\nflux capacitor\n")
    exif = Image.Exif()
    exif.get_ifd(_GPS_IFD)[1] = "N"
    exif[0x010F] = "A camera"
    with_gps = write_photo(data, "gps", label_line(0), 1, exif)
    write_photo(data, "again", label_line(0), 1)
    write_photo(data, "unknown", label_line(1), 2)
    write_photo(data, "background", "", 3)
    report = await product.run_import(data)
    assert b"A camera" in with_gps.read_bytes()
    assert not any(b"A camera" in content for content in product.gateway.objects.values())
    assert report.photos == {"new": 1, "same photo twice": 1}
    assert sorted(report.left_out.values()) == [["images/background.jpg"], ["images/unknown.jpg"]]
    assert class_names(product) == ("egg",)
    assert (await product.run_import(data, new_classes=True)).photos["new"] == 1
    assert class_names(product) == ("egg", "flux_capacitor")


async def test_the_form_of_the_app_is_imported_without_its_user_ids(product: Product, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "plain", "photo", "", 5).read_bytes()
    box = {"x": 32, "y": 24, "width": 64, "height": 48}
    items: list[dict[str, Any]] = [{"class": "Oat Milk", "bbox": box}, {"class": "eggs", "bbox": None}]
    store_photo(tmp_path / "app", photo, app_label(photo, (320, 240), items, user="user-4711"))
    report = await product.run_import(tmp_path / "app")
    assert report.photos == {"new": 1}
    (event,) = product.confirmed
    assert "4711" not in json.dumps(event.model_dump(mode="json"))
    assert [item.label for item in event.items] == ["oat_milk"]
    assert not event.nothing_missing, "an item without a box is in the photo"
    (meta,) = metas(product).values()
    assert meta.split == "train"
