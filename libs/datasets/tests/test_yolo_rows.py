"""Folders in YOLO form from the field: names and rows that tools and people write."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from savo_contracts.geometry import BoundingBox
from savo_datasets.errors import DatasetError
from savo_datasets.formats.reading import open_samples
from savo_datasets.formats.samples import Sample
from savo_datasets.found_photos import LeftOut
from savo_datasets.labels import TruthBox, checked_rows, format_labels
from savo_datasets.preparation import find_photos
from savo_datasets.yolo_folder import read_classes, read_data_yaml, split_photos

CENTRE = "0.5 0.5 0.25 0.25"
TWELVE = ("apple", "banana", "bread", "butter", "carrot", "cheese", "egg", "garlic", "lemon", "milk", "onion", "tomato")


def make(folder: Path, yaml: str, *rows: str, classes: bytes | None = None) -> Path:
    """A folder with a photo for each label file."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number, text in enumerate(rows):
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(folder / "images" / f"{number}.png")
        (folder / "labels" / f"{number}.txt").write_text(text, encoding="utf-8")
    if classes is not None:
        (folder / "classes.txt").write_bytes(classes)
    if yaml:
        (folder / "data.yaml").write_text(yaml, encoding="utf-8")
    return folder


def read(folder: Path) -> tuple[list[Sample], LeftOut]:
    source = open_samples(folder)
    return list(source.samples), source.left_out


def box(label: str, *centre_form: float) -> TruthBox:
    found = BoundingBox.from_yolo(centre_form)
    assert found
    return TruthBox(label, found)


def test_class_ids_in_quotes_are_numbers(tmp_path: Path) -> None:
    names = "".join(f'  "{number}": {name}\n' for number, name in enumerate(TWELVE))
    folder = make(tmp_path / "in", f"names:\n{names}", f"2 {CENTRE}\n10 {CENTRE}\n")
    assert read_classes(folder) == TWELVE
    ((sample,), _) = read(folder)
    assert [found.label for found in sample.boxes] == ["bread", "onion"]


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("names:\n  0: apple\n  2: milk\n  5: egg\n", r":3: names has class id 2 \(milk\), but no id 1"),
        ("names:\n  1: apple\n  2: milk\n", r":2: names has class id 1 \(apple\), but no id 0"),
        ("names:\n  0: apple\n  '0': milk\n", ":3: class id 0 has two names"),
        ("names:\n  0: apple\n  1.0: milk\n", ":3: names must be a list, or a mapping .* 1.0 is no class id"),
        ("names: [no, milk]", ":1: name 0 is not text: put no in quotes"),
        ("names: [milk, 010]", ":1: name 1 is not text: put 010 in quotes"),
        ("names: [12:30]", "name 0 is not text: put 12:30 in quotes"),
        ("names: [null]", "name 0 is not text: put null in quotes"),
        ("names: [2024-01-01]", "name 0 is not text: put 2024-01-01 in quotes"),
        ("names: {0: on}", "name 0 is not text: put on in quotes"),
        ("names: [[a]]", "name 0 is not text"),
        ("names: ['  ']", "name 0 is empty"),
        ("names: [egg, milk, egg]", "the name 'egg' occurs twice"),
        ("nc: 3\nnames: [egg, milk]", ":1: nc is 3, but names has 2"),
        ("nc: two\nnames: [egg, milk]", ":1: nc is two, but names has 2"),
        ("kpt_shape: 17\nnames: [egg]", "kpt_shape is 17"),
    ],
)
def test_names_in_doubt_are_refused_with_file_line_and_value(tmp_path: Path, yaml: str, message: str) -> None:
    folder = make(tmp_path / "in", yaml, f"0 {CENTRE}\n")
    for call in (read_classes, open_samples, lambda path: read_data_yaml(path / "data.yaml")):
        with pytest.raises(DatasetError, match=rf"data\.yaml.*{message}"):
            call(folder)


@pytest.mark.parametrize("yaml", ["names: ['no', 'on', '010', '12:30', 'null', apple]\nnc: '6'\n"])
def test_names_in_quotes_are_text(tmp_path: Path, yaml: str) -> None:
    assert read_classes(make(tmp_path / "in", yaml)) == ("no", "on", "010", "12:30", "null", "apple")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    folder = make(tmp_path / "in", "", f"\ufeff0 {CENTRE}\n", classes="\ufeffapple\r\nmilk\r\n".encode())
    assert read_classes(folder) == ("apple", "milk")
    assert [found.label for found in read(folder)[0][0].boxes] == ["apple"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("0.000e+00 5.0e-01 5.0e-01 2.5e-01 2.5e-01", (0.5, 0.5, 0.25, 0.25)),
        ("0 .5 0.5 1.0000001 -0.0", None),
        ("+0 0.5 0.5 1.0000001 1", (0.5, 0.5, 1, 1)),
        ("0 0.4 0.4 0.6 0.4 0.6 0.6 0.4 0.6", (0.5, 0.5, 0.2, 0.2)),
        ("0 0.4 0.4 0.6 0.4 0.6", None),
        ("0 1_0 0.5 0.5 0.5", None),
        ("0.5 0.5 0.5 0.2 0.2", None),
        ("0 0,5 0,5 0,2 0,2", None),
        ("0 1e999 0.5 0.5 0.5", None),
        ("1e99 0.5 0.5 0.5 0.5", None),
    ],
)
def test_numbers_are_read_as_tools_write_them(
    tmp_path: Path, row: str, expected: tuple[float, float, float, float] | None
) -> None:
    samples, left_out = read(make(tmp_path / "in", "names: [egg]", f"{row}\n"))
    assert [sample.boxes for sample in samples] == ([(box("egg", *expected),)] if expected else [])
    assert bool(left_out.files) == (expected is None)


def test_a_row_of_key_points_is_its_box(tmp_path: Path) -> None:
    row = "0 0.5 0.5 0.2 0.2 0.45 0.42 0.56 0.58\n"
    folder = make(tmp_path / "in", "train: images\nkpt_shape: [2, 2]\nnames: [egg]\n", row)
    ((sample,), _) = read(folder)
    assert sample.boxes == (box("egg", 0.5, 0.5, 0.2, 0.2),)
    (photo,) = split_photos(read_data_yaml(folder / "data.yaml"), "train")
    assert list(photo.truth) == list(sample.boxes)


def test_repeated_rows_and_boxes_without_area_are_left_out_of_data_sets_and_of_measurements(tmp_path: Path) -> None:
    rows = f"0 {CENTRE}\n0 {CENTRE}\n0 0.5 0.5 0 0.25\n"
    folder = make(tmp_path / "in", "train: images\nnames: [egg]\n", rows)
    ((sample,), left_out) = read(folder)
    assert left_out.files == {
        "row that repeats another one": ["labels/0.txt:2: repeats an earlier row"],
        "row with a box without area": ["labels/0.txt:3: has a box without area: 0.5 0.5 0 0.25"],
    }
    (photo,) = split_photos(read_data_yaml(folder / "data.yaml"), "train")
    assert list(photo.truth) == list(sample.boxes) == [box("egg", 0.5, 0.5, 0.25, 0.25)]


def test_a_photo_without_a_usable_row_is_no_background(tmp_path: Path) -> None:
    folder = make(tmp_path / "in", "names: [egg]", f"1 {CENTRE}\n", "", "\n", f"0 {CENTRE}\n")
    samples, left_out = read(folder)
    assert [(sample.name, len(sample.boxes)) for sample in samples] == [("1.png", 0), ("2.png", 0), ("3.png", 1)]
    assert left_out.counts() == {"row with a class id that has no name": 1, "no usable row in the label file": 1}


def test_files_of_a_mac_and_hidden_folders_are_not_read(tmp_path: Path) -> None:
    folder = make(tmp_path / "in", "names: [egg]", f"0 {CENTRE}\n")
    for name in ("._data.yaml", "images/._0.png", "labels/._0.txt", ".DS_Store", "__MACOSX/images/0.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"Mac OS X\xff")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "0-checkpoint.png").write_bytes((folder / "images" / "0.png").read_bytes())
    found = find_photos(folder)
    assert [photo.path.name for photo in found.photos] == ["0.png"]
    assert found.left_out.files == {}


def test_a_label_file_that_is_no_text_leaves_its_photo_out(tmp_path: Path) -> None:
    folder = make(tmp_path / "in", "names: [egg]", f"0 {CENTRE}\n", "")
    (folder / "labels" / "1.txt").write_bytes(b"\xff\xfe0\x00")
    samples, left_out = read(folder)
    assert [sample.name for sample in samples] == ["0.png"]
    ((reason, (file,)),) = left_out.files.items()
    assert (reason, "1.txt is not UTF-8 text" in file) == ("label file that cannot be read", True)


def test_rows_of_the_product_are_read_digit_for_digit() -> None:
    text = "0 0.300000 0.299999 0.400001 0.123457\n1 0.000001 0.999999 0.000002 0.000002\n"
    rows = "".join(row.text for row in checked_rows(text, 2) if not hasattr(row, "reason"))
    assert rows == text
    assert format_labels([box("a", 0.3, 0.299999, 0.400001, 0.123457)], ("a",)) == text.splitlines(keepends=True)[0]
