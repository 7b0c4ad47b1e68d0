"""Pascal VOC: one XML file for each photo, with boxes in pixels.

    Annotations/NAME.xml  JPEGImages/NAME.jpg  ImageSets/Main/{train,val,test}.txt

Pixels are counted from 1, and both corners are inside the box: a box of the whole photo is 1, 1, width, height.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from savo_datasets.formats.coco import OTHER_SIZE, clipped_box, is_ratio_of
from savo_datasets.formats.folder_files import files_under, split_of
from savo_datasets.formats.photo_index import PhotoIndex
from savo_datasets.formats.photo_sizes import upright_size
from savo_datasets.formats.samples import Sample, SampleSource
from savo_datasets.found_photos import LeftOut
from savo_datasets.labels import TruthBox

__all__ = ["annotation_files", "open_samples", "voc_annotation"]

_MAX_BYTES = 4 << 20
_ROOT = b"<annotation"
_SNIFFED_BYTES = 4096
_SET_NAMES = {"train": "train", "val": "val", "test": "test"}


class _UnusableError(Exception):
    """An annotation file is left out. Arguments: reason, details."""


class _Object(NamedTuple):
    name: str
    corners: tuple[float, float, float, float] | None


class _Annotation(NamedTuple):
    photo: str
    size: tuple[float | None, float | None]
    objects: tuple[_Object, ...]


def annotation_files(folder: Path) -> list[Path]:
    """XML files that begin like an annotation, in order of path."""
    return sorted(path for path in files_under(folder, {".xml"}) if _ROOT in _beginning(path))


def open_samples(folder: Path, files: list[Path]) -> SampleSource:
    """The photos of a folder with annotation files. Classes are in alphabetical order."""
    names: set[str] = set()
    for path in files:
        try:
            names.update(found.name for found in _read(path).objects if found.name)
        except _UnusableError:
            continue  # counted when the samples are read
    left_out = LeftOut()
    return SampleSource("Pascal VOC", tuple(sorted(names)), _samples(folder, files, left_out), left_out)


def _samples(folder: Path, files: list[Path], left_out: LeftOut) -> Iterator[Sample]:
    index, sets = PhotoIndex(folder), _sets(folder)
    used: set[Path] = set()
    for path in files:
        file = str(path.relative_to(folder))
        try:
            annotation = _read(path)
            photo = _photo(annotation, path, index)
            if photo in used:
                raise _UnusableError("photo that is annotated again", photo.name)
            boxes = tuple(_boxes(annotation, photo, file, left_out))
        except _UnusableError as error:
            left_out.add(error.args[0], file, error.args[1])
            continue
        used.add(photo)
        if annotation.objects and not boxes:
            left_out.add("no usable object", file)
            continue
        split = sets.get(photo.stem) or split_of(photo.relative_to(folder))
        yield Sample(photo.name, boxes, photo, split=split)
    for photo in index.others(used):
        left_out.add("photo without annotations", str(photo.relative_to(folder)))


def _photo(annotation: _Annotation, path: Path, index: PhotoIndex) -> Path:
    """The photo with the file's name, or else the one that the file names."""
    names = [f"{path.stem}{suffix}" for suffix in (Path(annotation.photo).suffix, ".jpg", ".jpeg", ".png")]
    found = next((photo for name in [*names, annotation.photo] if (photo := index.find(name, path.parent))), None)
    if found is None:
        raise _UnusableError("annotated photo that is not in the folder", annotation.photo)
    return found


def _boxes(annotation: _Annotation, photo: Path, file: str, left_out: LeftOut) -> Iterator[TruthBox]:
    actual = upright_size(photo)
    if actual is None:
        raise _UnusableError("unreadable", photo.name)
    if not is_ratio_of(annotation.size, actual):
        stated = "×".join(f"{side:.0f}" for side in annotation.size if side)
        raise _UnusableError(OTHER_SIZE, f"{stated}, the upright photo is {actual[0]}×{actual[1]}")
    size = (annotation.size[0] or actual[0], annotation.size[1] or actual[1])
    seen = set()
    for number, found in enumerate(annotation.objects):
        position = f"{file}: object {number + 1}"
        if not found.name:
            left_out.add("object without a name", position)
        elif found.corners is None:
            left_out.add("object without a box", position, found.name)
        elif (box := clipped_box(found.corners, size)) is None:
            left_out.add("box outside its photo or without area", position, found.name)
        elif (found.name, box) in seen:
            left_out.add("object that repeats another one", position, found.name)
        else:
            seen.add((found.name, box))
            yield TruthBox(found.name, box)


def _read(path: Path) -> _Annotation:
    content = _content(path)
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise _UnusableError("annotation with a document type, which can expand without limit", "")
    try:
        root = ET.fromstring(content)  # noqa: S314 no document type, so no entities
    except (ET.ParseError, ValueError, LookupError) as error:
        raise _UnusableError("annotation that is not valid XML", str(error)) from error
    size = (_number(root.findtext("size/width")), _number(root.findtext("size/height")))
    objects = tuple(_object(element) for element in root.findall("object"))
    return _Annotation((root.findtext("filename") or "").strip(), size, objects)


def _object(element: ET.Element) -> _Object:
    edges = [_number(element.findtext(f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax")]
    left, top, right, bottom = edges
    name = (element.findtext("name") or "").strip()
    if left is None or top is None or right is None or bottom is None or right < left or bottom < top:
        return _Object(name, None)
    return _Object(name, (left - 1, top - 1, right, bottom))


def _sets(folder: Path) -> dict[str, str]:
    """Split by photo name, from ImageSets/Main."""
    found: dict[str, str] = {}
    for path in sorted(files_under(folder, {".txt"})):
        if path.parent.name == "Main" and path.stem in _SET_NAMES:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            found.update((line.split()[0], path.stem) for line in lines if line.strip())
    return found


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _UnusableError(f"annotation larger than {_MAX_BYTES >> 20} MiB", "")
        return path.read_bytes()
    except OSError as error:
        raise _UnusableError("cannot be read", error.strerror or "") from error


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_SNIFFED_BYTES)
    except OSError:
        return b""


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if abs(value) < 1e9 else None


def voc_annotation(sample: Sample, *, folder: str = "JPEGImages") -> bytes:
    """The XML file of a sample of known size. Boxes are rounded to whole pixels, at least one."""
    width, height = sample.size or (0, 0)
    root = ET.Element("annotation")
    for tag, text in (("folder", folder), ("filename", sample.name)):
        ET.SubElement(root, tag).text = text
    size = ET.SubElement(root, "size")
    for tag, value in (("width", width), ("height", height), ("depth", 3)):
        ET.SubElement(size, tag).text = str(value)
    ET.SubElement(root, "segmented").text = "0"
    for box in sample.boxes:
        left, top, right, bottom = (round(value) for value in box.bbox.to_pixels(width, height))
        left, top = min(left, width - 1), min(top, height - 1)
        corners = {"xmin": left + 1, "ymin": top + 1, "xmax": max(right, left + 1), "ymax": max(bottom, top + 1)}
        element = ET.SubElement(root, "object")
        for tag, text in (("name", box.label), ("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0")):
            ET.SubElement(element, tag).text = text
        bounds = ET.SubElement(element, "bndbox")
        for tag, value in corners.items():
            ET.SubElement(bounds, tag).text = str(value)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8")) + b"\n"
