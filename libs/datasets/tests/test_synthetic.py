"""Synthetic photos: their mark, and that they are only used for training."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from savo_datasets.groups import Grouping
from savo_datasets.preparation import Prepared, find_photos, prepare
from savo_datasets.synthetic import is_synthetic, mark_synthetic
from savo_datasets.yolo_folder import read_data_yaml, split_photos
from savo_datasets.yolo_writer import add_photo, create_folder


def drawn(seed: int) -> bytes:
    """A JPEG of 64 random tiles."""
    tiles = np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    encoded, data = cv2.imencode(".jpg", cv2.resize(tiles, (96, 96), interpolation=cv2.INTER_NEAREST))
    assert encoded
    return data.tobytes()


def prepared_from(folder: Path, photos: dict[str, bytes]) -> Prepared:
    create_folder(folder / "photos", ["milk"])
    for name, photo in photos.items():
        add_photo(folder / "photos", f"{name}.jpg", photo, "0 0.5 0.5 0.2 0.2\n")
    return prepare(find_photos(folder / "photos"), folder / "set", (0.7, 0.2, 0.1), Grouping(), seed=0)


def test_the_mark_leaves_the_pixels_unchanged() -> None:
    jpeg = drawn(1)
    marked = mark_synthetic(jpeg)
    assert (is_synthetic(jpeg), is_synthetic(marked)) == (False, True)
    first, second = (cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR) for photo in (jpeg, marked))
    assert np.array_equal(np.asarray(first), np.asarray(second))


def test_photos_of_image_generators_are_synthetic_and_camera_photos_are_not() -> None:
    xmp = b'<rdf Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/%b"/>'
    assert is_synthetic(xmp % b"trainedAlgorithmicMedia")
    assert not is_synthetic(xmp % b"digitalCapture")


def test_only_a_jpeg_can_be_marked() -> None:
    with pytest.raises(ValueError, match="only a JPEG"):
        mark_synthetic(b"\x89PNG\r\n")


def test_synthetic_photos_go_to_train_alone(tmp_path: Path) -> None:
    real = {f"kitchen-{letter}": drawn(number) for number, letter in enumerate("abcdefghijklmnopqrst")}
    synthetic = {f"scene-{letter}": mark_synthetic(drawn(100 + number)) for number, letter in enumerate("abcdefghij")}
    prepared = prepared_from(tmp_path, real | synthetic)
    assert prepared.synthetic == len(synthetic)
    in_split = {
        split: {photo.path.stem for photo in split_photos(read_data_yaml(prepared.data), split)}
        for split in ("train", "val", "test")
    }
    assert set(synthetic) <= in_split["train"]
    assert in_split["val"]
    assert in_split["test"]
    assert in_split["val"] | in_split["test"] <= set(real)


def test_a_photo_that_looks_like_a_synthetic_one_is_in_train_with_it(tmp_path: Path) -> None:
    photos = {f"kitchen-{letter}": drawn(number) for number, letter in enumerate("abcdefgh")}
    copies = {f"scene-{name}": mark_synthetic(photo) for name, photo in photos.items()}
    assert prepared_from(tmp_path, photos | copies).counts == {"train": 16, "val": 0, "test": 0}


def test_a_set_of_synthetic_photos_alone_has_no_photo_to_measure_with(tmp_path: Path) -> None:
    prepared = prepared_from(tmp_path, {name: mark_synthetic(drawn(ord(name))) for name in "abcdef"})
    assert prepared.counts == {"train": 6, "val": 0, "test": 0}
    assert list(prepared.table.empty) == ["val", "test"]
