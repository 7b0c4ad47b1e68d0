"""COCO, Pascal VOC, Label Studio and NDJSON: what is read, what is written, and that both agree."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from savo_contracts.geometry import BoundingBox
from savo_datasets.errors import DatasetError
from savo_datasets.formats.coco import write_coco
from savo_datasets.formats.new_folder import new_folder
from savo_datasets.formats.photo_sizes import with_sizes
from savo_datasets.formats.reading import open_samples
from savo_datasets.formats.samples import Sample
from savo_datasets.formats.writing import Format, write_folder
from savo_datasets.found_photos import LeftOut
from savo_datasets.labels import TruthBox

CLASSES = ("egg", "oat milk", "Käse")
SIZE = (80, 60)
Found = tuple[tuple[str, ...], list[Sample], LeftOut]


def photo(path: Path, size: tuple[int, int] = SIZE, colour: int = 0, orientation: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (colour, 0, 0))
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


def read(folder: Path) -> Found:
    source = open_samples(folder)
    return source.classes, list(source.samples), source.left_out


def box(label: str, left: float, top: float, right: float, bottom: float) -> TruthBox:
    return TruthBox(label, BoundingBox.from_pixels((left, top, right, bottom), *SIZE))


def boxes_of(sample: Sample, size: tuple[int, int] = SIZE) -> list[tuple[Any, ...]]:
    """Label and pixel corners of each box, rounded."""
    return [(found.label, *(round(value, 1) for value in found.bbox.to_pixels(*size))) for found in sample.boxes]


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Three photos in two splits, two of the same name, one a background."""
    paths = [photo(tmp_path / "from" / str(number) / "photo.jpg", colour=80 * number) for number in range(3)]
    boxes = [(box("egg", 8, 6, 40, 30), box("Käse", 0, 0, 80, 60)), (box("oat milk", 20, 15, 60, 45),), ()]
    return [
        Sample("photo.jpg", truth, path, SIZE, split)
        for truth, path, split in zip(boxes, paths, ["train", "val", "train"], strict=True)
    ]


@pytest.mark.parametrize("form", [Format.YOLO, Format.COCO, Format.VOC])
def test_what_is_written_is_read_with_the_same_names_boxes_and_splits(
    tmp_path: Path, samples: list[Sample], form: Format
) -> None:
    (tmp_path / "out").mkdir()
    assert write_folder(tmp_path / "out", samples, CLASSES, form) == {"train": 2, "val": 1}
    classes, found, left_out = read(tmp_path / "out")
    assert set(classes) == set(CLASSES)
    assert left_out.files == {}
    by_photo = {sample.path.read_bytes(): sample for sample in found if sample.path}
    for sample in samples:
        assert sample.path
        copy = by_photo[sample.path.read_bytes()]
        assert (copy.split, boxes_of(copy)) == (sample.split, boxes_of(sample))


def test_ndjson_has_a_line_for_the_data_set_and_one_for_each_photo(tmp_path: Path, samples: list[Sample]) -> None:
    (tmp_path / "kitchen").mkdir()
    write_folder(tmp_path / "kitchen", samples, CLASSES, Format.NDJSON)
    lines = (tmp_path / "kitchen" / "kitchen.ndjson").read_text(encoding="utf-8").splitlines()
    header, first, *_ = map(json.loads, lines)
    assert header["class_names"] == {"0": "egg", "1": "oat milk", "2": "Käse"}
    assert first == {
        "type": "image",
        "file": "photo.jpg",
        "width": 80,
        "height": 60,
        "split": "train",
        "annotations": {"boxes": [[0, 0.3, 0.3, 0.4, 0.4], [2, 0.5, 0.5, 1.0, 1.0]]},
    }
    assert len(lines) == 4


def coco(images: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], names: Any = None) -> str:
    categories = [{"id": 7, "name": "milk"}, {"id": 3, "name": "egg"}] if names is None else names
    return json.dumps({"images": list(images), "annotations": list(rows), "categories": categories})


IMAGE = {"id": 1, "file_name": "a.jpg", "width": 80, "height": 60}
ROW = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [8, 6, 32, 24], "iscrowd": 0}


def read_coco(tmp_path: Path, content: str, name: str = "_annotations.coco.json") -> Found:
    photo(tmp_path / "a.jpg")
    (tmp_path / name).write_text(content, encoding="utf-8")
    return read(tmp_path)


def test_coco_ids_may_have_gaps_and_quotes(tmp_path: Path) -> None:
    image, row = IMAGE | {"id": "1"}, ROW | {"image_id": "1", "category_id": "7"}
    classes, (sample,), _ = read_coco(tmp_path, coco([image], [row]))
    assert classes == ("egg", "milk"), "in order of the ids"
    assert boxes_of(sample) == [("milk", 8, 6, 40, 30)]


def test_coco_polygons_become_boxes_and_sizes_may_be_scaled(tmp_path: Path) -> None:
    row = ROW | {"bbox": None, "segmentation": [[16, 12, 80, 12, 80, 60]]}
    _, (sample,), _ = read_coco(tmp_path, coco([IMAGE | {"width": 160, "height": 120}], [row]))
    assert boxes_of(sample) == [("egg", 8, 6, 40, 30)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"category_id": 4}, "annotation of an unknown category"),
        ({"iscrowd": 1}, "annotation of a crowd"),
        ({"bbox": [1, 2, 3]}, "annotation without a box"),
        ({"bbox": [1, 2, "3", 4]}, "annotation without a box"),
        ({"bbox": [8, 6, 0, 24]}, "box outside its photo or without area"),
        ({"bbox": [90, 6, 32, 24]}, "box outside its photo or without area"),
        ({}, "annotation that repeats another one"),
        ({"image_id": None}, "annotation without an image_id"),
    ],
)
def test_a_coco_annotation_that_cannot_be_used_is_left_out(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    _, (sample,), left_out = read_coco(tmp_path, coco([IMAGE], [ROW, ROW | change]))
    assert boxes_of(sample) == [("egg", 8, 6, 40, 30)]
    assert left_out.counts() == {reason: 1}
    ((file,),) = left_out.files.values()
    assert file.startswith("_annotations.coco.json: annotations[1]")


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ([IMAGE | {"id": 2, "file_name": "../../b.jpg"}], "annotated photo that is not in the folder"),
        ([IMAGE | {"id": 2}], "photo that is annotated again"),
        ([{"id": 2}], "entry of images without id or file_name"),
        ([IMAGE | {"id": 2, "file_name": "lying.jpg"}], "width and height are not the upright photo's"),
    ],
)
def test_a_coco_photo_that_cannot_be_used_is_left_out(
    tmp_path: Path, images: list[dict[str, Any]], reason: str
) -> None:
    if "lying" in str(images):
        photo(tmp_path / "lying.jpg", orientation=6)
    _, found, left_out = read_coco(tmp_path, coco([IMAGE, *images], [ROW]))
    assert [sample.name for sample in found] == ["a.jpg"]
    assert left_out.counts()[reason] == 1


def test_photos_that_coco_does_not_list_are_left_out_and_listed_ones_without_boxes_are_backgrounds(
    tmp_path: Path,
) -> None:
    photo(tmp_path / "more" / "b.jpg")
    _, (sample,), left_out = read_coco(tmp_path, coco([IMAGE], []))
    assert sample.boxes == ()
    assert left_out.files == {"photo without annotations": ["more/b.jpg"]}


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([{"id": 1, "name": 5}], r"categories\[0\] has the name 5, which is not text"),
        ([{"id": 1, "name": None}], "has the name None, which is not text"),
        ([{"id": "one", "name": "egg"}], r"categories\[0\] has no id that is a number"),
        ([{"id": 1, "name": "egg"}, {"id": 1, "name": "milk"}], "has id 1, which 'egg' has too"),
    ],
)
def test_a_coco_category_in_doubt_is_refused(tmp_path: Path, categories: list[Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_coco(tmp_path, coco([IMAGE], [ROW], categories))


VOC = """<annotation><filename>{filename}</filename><size><width>80</width><height>60</height></size>
{objects}</annotation>"""
VOC_OBJECT = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>{}</object>"
)


def read_voc(tmp_path: Path, *objects: str, filename: str = "a.jpg", header: str = "") -> Found:
    photo(tmp_path / "JPEGImages" / "a.jpg")
    path = tmp_path / "Annotations" / "a.xml"
    path.parent.mkdir()
    path.write_text(header + VOC.format(filename=filename, objects="".join(objects)), encoding="utf-8")
    return read(tmp_path)


def test_voc_boxes_count_pixels_from_one_and_parts_are_no_objects(tmp_path: Path) -> None:
    part = "<part><name>yolk</name><bndbox><xmin>1</xmin></bndbox></part>"
    objects = [VOC_OBJECT.format("egg", 9, 7, 40, 30, part), VOC_OBJECT.format("milk", 1, 1, 80, 60, "")]
    classes, (sample,), left_out = read_voc(tmp_path, *objects, filename="other.jpg")
    assert (classes, left_out.files) == (("egg", "milk"), {})
    assert boxes_of(sample) == [("egg", 8, 6, 40, 30), ("milk", 0, 0, 80, 60)]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (("", 9, 7, 40, 30, ""), "object without a name"),
        (("egg", 40, 7, 9, 30, ""), "object without a box"),
        (("egg", "nine", 7, 40, 30, ""), "object without a box"),
        (("egg", 100, 7, 120, 30, ""), "box outside its photo or without area"),
        (("egg", 9, 7, 40, 30, ""), "object that repeats another one"),
    ],
)
def test_a_voc_object_that_cannot_be_used_is_left_out(tmp_path: Path, found: tuple[Any, ...], reason: str) -> None:
    objects = [VOC_OBJECT.format("egg", 9, 7, 40, 30, ""), VOC_OBJECT.format(*found)]
    _, (sample,), left_out = read_voc(tmp_path, *objects)
    assert boxes_of(sample) == [("egg", 8, 6, 40, 30)]
    ((found_reason, (file,)),) = left_out.files.items()
    assert (found_reason, file[:27]) == (reason, "Annotations/a.xml: object 2")


@pytest.mark.parametrize("header", ['<!DOCTYPE a [<!ENTITY b "c">]>', "<!-- --"])
def test_a_voc_file_that_is_no_plain_xml_is_left_out(tmp_path: Path, header: str) -> None:
    _, found, left_out = read_voc(tmp_path, header=header)
    assert found == []
    assert len(left_out.counts()) == 2, "the file, and the photo without annotations"


def task(**changes: Any) -> dict[str, Any]:
    value = {"x": 10, "y": 10, "width": 40, "height": 40, "rotation": 0, "rectanglelabels": ["egg"]}
    row = {"original_width": 80, "original_height": 60, "image_rotation": 0, "type": "rectanglelabels", "value": value}
    result = [row | changes.pop("row", {})]
    result[0]["value"] = value | changes.pop("value", {})
    return {"id": 5, "data": {"image": "/data/upload/1/0a1b2c3d-a.jpg"}, "annotations": [{"result": result}]} | changes


def read_label_studio(tmp_path: Path, *tasks: Any) -> Found:
    photo(tmp_path / "images" / "a.jpg")
    (tmp_path / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    return read(tmp_path)


@pytest.mark.parametrize(
    "found",
    [
        task(),
        task(data={"image": "/data/local-files/?d=images%2Fa.jpg"}),
        task(data={"image": "s3://bucket/images/a.jpg"}),
        task(value={"rectanglelabels": None, "polygonlabels": ["egg"], "points": [[10, 10], [50, 10], [50, 50]]}),
        task(value={"rectanglelabels": None, "ellipselabels": ["egg"], "x": 30, "y": 30, "radiusX": 20, "radiusY": 20}),
        task(value={"x": 50, "y": 10, "width": 30, "height": 160 / 3, "rotation": 90}),
        {
            "id": 5,
            "image": "a.jpg",
            "label": [{"x": 10, "y": 10, "width": 40, "height": 40, "rectanglelabels": ["egg"]}],
        },
    ],
    ids=["upload", "local file", "bucket", "polygon", "ellipse", "turned", "JSON_MIN"],
)
def test_label_studio_regions_become_boxes(tmp_path: Path, found: dict[str, Any]) -> None:
    classes, (sample,), left_out = read_label_studio(tmp_path, found)
    assert (classes, left_out.files) == (("egg",), {})
    assert boxes_of(sample) == [("egg", 8, 6, 40, 30)]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (task(annotations=[]), "task without an annotation"),
        (task(annotations=[{"was_cancelled": True, "result": []}]), "task without an annotation"),
        (task(data={"text": "egg"}), "task without a photo"),
        (task(data={"image": "b.jpg"}), "annotated photo that is not in the folder"),
        (task(row={"image_rotation": 90}), "region that is no box, polygon or ellipse of the upright photo"),
        (task(value={"rectanglelabels": []}), "region without a label"),
        (task(value={"width": 0}), "box outside its photo or without area"),
    ],
)
def test_a_label_studio_task_that_cannot_be_used_is_left_out(tmp_path: Path, found: Any, reason: str) -> None:
    _, samples, left_out = read_label_studio(tmp_path, found)
    assert samples == []
    assert left_out.counts()[reason] == 1


def test_an_empty_label_studio_annotation_is_a_background(tmp_path: Path) -> None:
    _, (sample,), _ = read_label_studio(tmp_path, task(annotations=[{"result": []}]))
    assert sample.boxes == ()


def test_sizes_are_of_the_upright_photo(tmp_path: Path) -> None:
    left_out = LeftOut()
    paths = [photo(tmp_path / "a.jpg"), photo(tmp_path / "b.jpg", orientation=6), tmp_path / "missing.jpg"]
    found = with_sizes([Sample(path.name, (), path) for path in paths], left_out)
    assert [sample.size for sample in found] == [(80, 60), (60, 80)]
    assert left_out.counts() == {"unreadable": 1}


@pytest.mark.parametrize("count", [0, 3])
def test_coco_is_written_to_a_stream(count: int) -> None:
    sink = BytesIO()
    samples = [Sample(f"{number}.jpg", (box("egg", 8, 6, 40, 30),), size=SIZE) for number in range(count)]
    assert write_coco(sink, iter(samples), CLASSES, folder="images/") == count
    content = json.loads(sink.getvalue())
    assert [image["file_name"] for image in content["images"]] == [f"images/{number}.jpg" for number in range(count)]
    assert [row["bbox"] for row in content["annotations"]] == [[8, 6, 32, 24]] * count


@pytest.mark.parametrize("write", [lambda path: None, lambda path: (path / "readme.json").write_text("{")])
def test_a_folder_without_a_data_set_is_refused_with_what_was_looked_for(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    write(tmp_path)
    with pytest.raises(DatasetError, match="no data set in a format that can be read") as caught:
        open_samples(tmp_path)
    assert len(caught.value.next_steps) == 5


def test_a_refused_write_names_the_folder_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(PermissionError) as caught, new_folder(tmp_path / "out") as building:
        raise PermissionError(errno.EACCES, "Permission denied", str(building / "images"))
    assert caught.value.filename == str(tmp_path / "out" / "images")
    with pytest.raises(PermissionError) as caught, new_folder(tmp_path / "out"):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "in"))
    assert caught.value.filename == str(tmp_path / "in")
