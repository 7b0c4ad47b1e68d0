"""COCO: one JSON file with `images`, `annotations` (boxes in pixels, x and y the top left corner) and `categories`."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

from savo_contracts.geometry import BoundingBox
from savo_datasets.errors import DatasetError
from savo_datasets.formats.folder_files import split_of
from savo_datasets.formats.photo_index import PhotoIndex
from savo_datasets.formats.photo_sizes import upright_size
from savo_datasets.formats.samples import Sample, SampleSource
from savo_datasets.found_photos import LeftOut
from savo_datasets.labels import TruthBox

__all__ = ["NO_PHOTO", "OTHER_SIZE", "CocoFile", "clipped_box", "is_coco", "is_ratio_of", "open_samples", "write_coco"]

NO_PHOTO = "annotated photo that is not in the folder"
OTHER_SIZE = "width and height are not the upright photo's"

_RATIO_TOLERANCE = 0.01
_SPOOLED_BYTES = 16 << 20
"""Annotations that wait for the end of the list of images, in memory; more wait in a file."""


def is_coco(content: Any) -> bool:
    """Whether parsed JSON has COCO's form."""
    return isinstance(content, dict) and all(
        isinstance(content.get(key), list) for key in ("images", "annotations", "categories")
    )


def open_samples(folder: Path, files: Mapping[Path, Any]) -> SampleSource:
    """The photos of a folder with COCO files: parsed content by path. Classes of the same name are one class.

    Raises `DatasetError` for a category without a name or without an id.
    """
    names: dict[str, None] = {}
    categories = {path: _categories(path, content["categories"]) for path, content in files.items()}
    for by_id in categories.values():
        names.update(dict.fromkeys(by_id.values()))
    left_out = LeftOut()
    return SampleSource("COCO", tuple(names), _samples(folder, files, categories, left_out), left_out)


def _categories(path: Path, categories: Sequence[Any]) -> dict[int, str]:
    """Name by id, in order of the ids. Ids in quotes are numbers too."""
    found: dict[int, str] = {}
    for number, category in enumerate(categories):
        position = f"{path}: categories[{number}]"
        class_id = _whole_number(category.get("id")) if isinstance(category, dict) else None
        if class_id is None:
            raise DatasetError(f"{position} has no id that is a number: {_shown(category)}")
        name = category.get("name")
        if not isinstance(name, str) or not name.strip():
            raise DatasetError(f"{position} has the name {_shown(name)}, which is not text")
        if class_id in found:
            raise DatasetError(f"{position} has id {class_id}, which {found[class_id]!r} has too")
        found[class_id] = name.strip()
    return {class_id: found[class_id] for class_id in sorted(found)}


def _samples(
    folder: Path, files: Mapping[Path, Any], categories: Mapping[Path, dict[int, str]], left_out: LeftOut
) -> Iterator[Sample]:
    index = PhotoIndex(folder)
    used: set[Path] = set()
    for path, content in files.items():
        annotations = _by_image(content["annotations"], path, folder, left_out)
        split = split_of(path.relative_to(folder)) or _split_in_name(path)
        for number, image in enumerate(content["images"]):
            position = f"{path.relative_to(folder)}: images[{number}]"
            found = _photo(image, index, (path.parent, split), position, used, left_out)
            if found is None:
                continue
            photo, size = found
            used.add(photo)
            rows = annotations.get(_whole_number(image.get("id")), [])
            boxes = tuple(_boxes(rows, size, categories[path], path.relative_to(folder), left_out))
            if rows and not boxes:
                left_out.add("no usable annotation", position, photo.name)
                continue
            yield Sample(photo.name, boxes, photo, split=split or split_of(photo.relative_to(folder)))
    for photo in index.others(used):
        left_out.add("photo without annotations", str(photo.relative_to(folder)))


def _photo(
    image: Any, index: PhotoIndex, near: tuple[Path, str | None], position: str, used: set[Path], left_out: LeftOut
) -> tuple[Path, tuple[float, float]] | None:
    """The photo of an entry of `images`, and the size in which its boxes are given."""
    name = image.get("file_name") if isinstance(image, dict) else None
    if not isinstance(name, str) or _whole_number(image.get("id")) is None:
        left_out.add("entry of images without id or file_name", position)
        return None
    photo = index.find(name, *near)
    if photo is None:
        left_out.add(NO_PHOTO, position, name)
    elif photo in used:
        left_out.add("photo that is annotated again", position, name)
    elif (actual := upright_size(photo)) is None:
        left_out.add("unreadable", position, name)
    elif not is_ratio_of(size := (_number(image.get("width")), _number(image.get("height"))), actual):
        left_out.add(OTHER_SIZE, position, f"{name}: {size[0]}×{size[1]}, the upright photo is {actual[0]}×{actual[1]}")
    else:
        return photo, (size[0] or actual[0], size[1] or actual[1])
    return None


def _by_image(annotations: Sequence[Any], path: Path, folder: Path, left_out: LeftOut) -> dict[int | None, list[Any]]:
    """Annotations with their positions, by image id."""
    found: dict[int | None, list[Any]] = {}
    for number, annotation in enumerate(annotations):
        image_id = _whole_number(annotation.get("image_id")) if isinstance(annotation, dict) else None
        if image_id is None:
            left_out.add("annotation without an image_id", f"{path.relative_to(folder)}: annotations[{number}]")
        else:
            found.setdefault(image_id, []).append((number, annotation))
    return found


def _boxes(
    rows: Sequence[Any], size: tuple[float, float], names: Mapping[int, str], path: Path, left_out: LeftOut
) -> Iterator[TruthBox]:
    seen = set()
    for number, row in rows:
        position = f"{path}: annotations[{number}]"
        class_id, corners = _whole_number(row.get("category_id")), _corners(row)
        name = None if class_id is None else names.get(class_id)
        if name is None:
            left_out.add("annotation of an unknown category", position, _shown(row.get("category_id")))
        elif row.get("iscrowd"):
            left_out.add("annotation of a crowd", position)
        elif corners is None:
            left_out.add("annotation without a box", position, _shown(row.get("bbox")))
        elif (box := clipped_box(corners, size)) is None:
            left_out.add("box outside its photo or without area", position, _shown(row.get("bbox")))
        elif (name, box) in seen:
            left_out.add("annotation that repeats another one", position)
        else:
            seen.add((name, box))
            yield TruthBox(name, box)


def clipped_box(corners: tuple[float, float, float, float], size: tuple[float, float]) -> BoundingBox | None:
    """The box of corners in pixels, clipped to a photo of a width and height; None where less than half is inside."""
    left, top, right, bottom = (value / side for value, side in zip(corners, size * 2, strict=True))
    box = BoundingBox.clipped(left, top, right, bottom)
    return box if box is not None and box.area >= (right - left) * (bottom - top) / 2 else None


def _corners(row: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom of an annotation's box, or else of its polygons."""
    box = row.get("bbox")
    if isinstance(box, list) and len(box) == 4 and all(_number(value) is not None for value in box):
        x, y, width, height = map(float, box)
        return x, y, x + width, y + height
    polygons = row.get("segmentation")
    if not isinstance(polygons, list):
        return None
    numbers = [value for polygon in polygons if isinstance(polygon, list) for value in map(_number, polygon)]
    if len(numbers) < 6 or len(numbers) % 2 or None in numbers:
        return None
    values = [value for value in numbers if value is not None]
    return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])


def is_ratio_of(size: tuple[float | None, float | None], actual: tuple[int, int]) -> bool:
    """Whether a size, where it is given, is that of the photo or of a scaled copy."""
    if not size[0] or not size[1]:
        return True
    return abs((size[0] / size[1]) / (actual[0] / actual[1]) - 1) <= _RATIO_TOLERANCE


def _split_in_name(path: Path) -> str | None:
    """The split in a name such as instances_train2017.json."""
    return next((split for split in ("train", "val", "test") if split in path.stem.lower()), None)


def _whole_number(value: Any) -> int | None:
    """A number, also in quotes."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e9 else None


def _shown(value: Any) -> str:
    return repr(value)[:60]


def write_coco(sink: BinaryIO, samples: Iterable[Sample], classes: Sequence[str], *, folder: str = "") -> int:
    """Write samples of known size as one COCO file, and return their number. `folder`: before the photos' names."""
    with CocoFile(sink, classes, folder) as file:
        for sample in samples:
            file.add(sample)
    return file.count


class CocoFile:
    """A COCO file that is written photo by photo: memory does not grow with them. Close it with `with`.

    Category ids are 1, 2, … in the order of `classes`. `folder` stands before the photos' names.
    """

    def __init__(self, sink: BinaryIO, classes: Sequence[str], folder: str = "") -> None:
        self.count = 0
        self._sink, self._folder, self._annotation_count = sink, folder, 0
        self._ids = {name: number for number, name in enumerate(classes, start=1)}
        self._annotations = tempfile.SpooledTemporaryFile(_SPOOLED_BYTES)  # noqa: SIM115 closed by __exit__
        categories = [{"id": number, "name": name, "supercategory": ""} for name, number in self._ids.items()]
        sink.write(b'{"info": {"description": "Savo"}, "licenses": [], "categories": ')
        sink.write(_json(categories) + b',\n"images": [')

    def add(self, sample: Sample) -> None:
        """Write a sample of known size."""
        self.count += 1
        width, height = sample.size or (0, 0)
        name = f"{self._folder}{sample.name}"
        image = {"id": self.count, "file_name": name, "width": width, "height": height}
        self._sink.write((b",\n" if self.count > 1 else b"\n") + _json(image))
        for box in sample.boxes:
            self._annotation_count += 1
            row = _annotation(self._annotation_count, self.count, self._ids[box.label], box.bbox, (width, height))
            self._annotations.write((b",\n" if self._annotation_count > 1 else b"\n") + _json(row))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_details: object) -> None:
        with self._annotations as annotations:
            if kind is None:
                self._sink.write(b'\n],\n"annotations": [')
                annotations.seek(0)
                shutil.copyfileobj(annotations, self._sink)
                self._sink.write(b"\n]}\n")


def _annotation(
    annotation_id: int, image_id: int, category_id: int, box: BoundingBox, size: tuple[int, int]
) -> dict[str, Any]:
    left, top, right, bottom = box.to_pixels(*size)
    pixels = [round(value, 3) for value in (left, top, right - left, bottom - top)]
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": pixels,
        "area": round(pixels[2] * pixels[3], 3),
        "iscrowd": 0,
        "segmentation": [],
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
