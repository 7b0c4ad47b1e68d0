"""Folders in YOLO form, as tools export them and as `savo prepare` writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from savo_datasets.errors import DatasetError
from savo_datasets.yolo_folder import (
    labelled_photos,
    labels_path,
    open_samples,
    photo_files,
    read_classes,
    read_data_yaml,
    split_photos,
)
from savo_datasets.yolo_writer import add_photo, create_folder, place_photo, write_description

LABEL = "0 0.5 0.5 0.2 0.2\n"


def write_file(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_are_found_under_labels_and_beside_the_photo(tmp_path: Path) -> None:
    under = write_file(tmp_path / "labels" / "train" / "one.txt")
    beside = write_file(tmp_path / "images" / "train" / "two.txt")
    assert labels_path(tmp_path / "images" / "train" / "one.jpg") == under
    assert labels_path(tmp_path / "images" / "train" / "two.jpg") == beside
    assert labels_path(tmp_path / "images" / "train" / "three.jpg") is None


def test_groups_are_those_of_subjects_csv_else_those_of_a_prepared_folder(tmp_path: Path) -> None:
    write_file(tmp_path / "classes.txt", "egg\n")
    for name in ("a", "b"):
        write_file(tmp_path / "images" / "train" / f"{name}.jpg")
        write_file(tmp_path / "labels" / "train" / f"{name}.txt", LABEL)
    write_file(tmp_path / "groups.csv", "name,split,group,session\na,train,a,a\nb,train,a,a\n")
    assert [sample.group for sample in open_samples(tmp_path).samples] == ["a", "a"]
    write_file(tmp_path / "subjects.csv", "name,group\na,mia\n")
    assert [sample.group for sample in open_samples(tmp_path).samples] == ["mia", None]


def test_hidden_files_are_not_photos(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "._a.png", "notes.txt"):
        write_file(tmp_path / "images" / name)
    assert [path.name for path in photo_files(tmp_path)] == ["a.png", "b.JPG"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("classes.txt", "egg\n milk \n\n"),
        ("data.yaml", "names: [egg, milk]\n"),
        ("dataset.yaml", "names: {1: milk, 0: egg}\n"),
        ("data.yml", "names: {'1': milk, '0': egg}\n"),
    ],
)
def test_class_names_are_read_in_the_order_of_their_ids(tmp_path: Path, name: str, content: str) -> None:
    write_file(tmp_path / "inside" / name, content)
    assert read_classes(tmp_path) == ("egg", "milk")


def test_an_empty_line_before_a_class_name_is_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "classes.txt", "egg\n\nmilk\n")
    with pytest.raises(DatasetError, match=r"classes\.txt:2 has no name, so class id 1 is unclear"):
        read_classes(tmp_path)


def test_more_than_ten_classes_keep_their_order(tmp_path: Path) -> None:
    rows = "".join(f"  '{number}': name{number}\n" for number in reversed(range(12)))
    write_file(tmp_path / "data.yaml", f"names:\n{rows}")
    assert read_classes(tmp_path) == tuple(f"name{number}" for number in range(12))


@pytest.mark.parametrize("content", ["names: {egg: 0}\n", "names: []\n", "[]\n", ""])
def test_a_data_yaml_without_class_names_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DatasetError, match="names"):
        read_data_yaml(write_file(tmp_path / "data.yaml", content))


def test_a_folder_can_be_read_while_photos_are_added(tmp_path: Path) -> None:
    create_folder(tmp_path, ("egg", "milk"))
    with pytest.raises(DatasetError, match="no labelled photo"):
        list(labelled_photos(tmp_path, read_classes(tmp_path)))
    add_photo(tmp_path, "one.jpg", b"photo", LABEL)
    (photo,) = labelled_photos(tmp_path, read_classes(tmp_path))
    assert (photo.path.read_bytes(), [box.label for box in photo.truth]) == (b"photo", ["egg"])


def test_photos_of_the_same_name_are_both_kept(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        place_photo(write_file(tmp_path / folder / "photo.jpg", folder), LABEL, "test", tmp_path / "out")
    data = read_data_yaml(write_description(tmp_path / "out", ("egg",)))
    assert [photo.path.read_text() for photo in split_photos(data, "test")] == ["one", "two"]


def test_the_error_for_a_missing_split_lists_the_splits(tmp_path: Path) -> None:
    data = read_data_yaml(write_description(tmp_path, ("egg",), present=("train",)))
    with pytest.raises(DatasetError, match=f"^{tmp_path} has no split 'test': it has train, val$"):
        list(split_photos(data, "test"))


def test_the_error_for_a_data_yaml_without_splits_lists_the_expected_ones(tmp_path: Path) -> None:
    data = read_data_yaml(write_file(tmp_path / "data.yaml", "names: [egg]\n"))
    with pytest.raises(DatasetError, match=f"^{tmp_path} has no split at all; expected train, val, test$"):
        list(split_photos(data, "test"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"train: [", r"not valid YAML \(line 1, column 9: .*\)"),
        (b"names: 5", "names must be a list, or a mapping of class ids to names"),
        (b"names: {a: tomato}", "names must be a list, or a mapping of class ids to names"),
        (b"- tomato\n- egg", "holds a list: expected keys such as path, train and names"),
        (b"names: [\xff]", "not UTF-8 text: byte 8 is invalid"),
    ],
)
@pytest.mark.parametrize("read", [read_classes, lambda folder: read_data_yaml(folder / "data.yaml")])
def test_an_unreadable_data_yaml_is_named_with_its_problem(
    tmp_path: Path, read: Callable[[Path], object], content: bytes, problem: str
) -> None:
    (tmp_path / "data.yaml").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"data\.yaml.*{problem}"):
        read(tmp_path)


def test_class_names_that_are_no_text_are_named_with_their_file(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(b"tomato\n\xe9gg\n")
    with pytest.raises(DatasetError, match=r"classes\.txt is not UTF-8 text: byte 7 is invalid"):
        read_classes(tmp_path)


def test_a_folder_as_data_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read: Is a directory"):
        read_data_yaml(tmp_path)
