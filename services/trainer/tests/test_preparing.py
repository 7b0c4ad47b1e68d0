"""Splits that do not leak, and the commands around them."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from savo_datasets.groups import Grouping, Photo, deal, group_photos, near_pairs, session_groups
from savo_datasets.yolo_folder import read_data_yaml, split_samples
from savo_trainer.commands import register

REPOSITORY = Path(__file__).parents[3]
PHOTOS = Path(os.environ.get("SAVO_TEST_PHOTOS", REPOSITORY.parent / "shared" / "data" / "epicureai12"))

app = typer.Typer()
register(app)
cli = CliRunner()


def scene(seed: int) -> bytes:
    picture = np.random.default_rng(seed).integers(0, 255, (9, 10, 3), dtype=np.uint8)
    large = cv2.resize(picture, (100, 90), interpolation=cv2.INTER_NEAREST)
    return bytes(cv2.imencode(".png", large)[1].tobytes())


def a_folder(folder: Path, names: list[str], label: str = "0 0.5 0.5 0.2 0.2\n") -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "classes.txt").write_text("tomato\nbanana\n", encoding="utf-8")
    for number, name in enumerate(names):
        (folder / "images" / f"{name}.png").write_bytes(scene(number))
        (folder / "labels" / f"{name}.txt").write_text(label, encoding="utf-8")
    return folder


def prepare(*arguments: object) -> tuple[int, str]:
    done = cli.invoke(app, ["prepare", *map(str, arguments)])
    return done.exit_code, done.output


def test_camera_numbers_without_a_large_gap_are_one_session() -> None:
    names = ["IMG_0001", "IMG_0002", "IMG_0022", "IMG_0050", "DSC_0051", "carrot", "carrot_2", "egg"]
    groups = session_groups(names, 20)
    assert groups[0] == groups[1] == groups[2]
    assert len({groups[0], groups[3], groups[4], groups[5], groups[7]}) == 5
    assert groups[5] == groups[6]


def test_what_tools_append_to_a_name_does_not_hide_the_session() -> None:
    groups = session_groups(["IMG_6906_jpeg.rf.3587a3c2", "IMG_6907_jpeg.rf.d6e8394e", "a" * 64, "b" * 64], 20)
    assert groups[0] == groups[1]
    assert groups[2] != groups[3]


def test_photos_that_look_alike_share_a_group_whatever_their_names() -> None:
    photos = [Photo("one", 0b1111), Photo("two", 0b1110), Photo("three", 0xFFFF_0000_0000)]
    first, second, third = group_photos(photos, Grouping(near_bits=2))
    assert first == second != third
    assert len(set(group_photos(photos, Grouping(near_bits=-1)))) == 3


def test_a_table_of_groups_goes_before_names() -> None:
    photos = [Photo("IMG_1", 1 << 60), Photo("IMG_2", 0xFFFF), Photo("x", 0xFF00FF00FF)]
    groups = group_photos(photos, Grouping(named={"IMG_1": "anna", "IMG_2": "ben", "x": "anna"}, near_bits=-1))
    assert groups[0] == groups[2] != groups[1]


@given(st.lists(st.integers(0, 12), min_size=30, max_size=120), st.integers(0, 5))
def test_no_group_is_ever_in_two_splits_and_the_same_seed_deals_the_same(groups: list[int], seed: int) -> None:
    named = [str(group) for group in groups] + ["a", "b", "c"]
    splits = deal(named, (0.7, 0.2, 0.1), seed)
    for group in set(named):
        assert len({split for name, split in zip(named, splits, strict=True) if name == group}) == 1
    assert splits == deal(named, (0.7, 0.2, 0.1), seed)


def test_shares_are_met_when_groups_are_small() -> None:
    splits = deal([str(number) for number in range(100)], (0.7, 0.2, 0.1), 0)
    assert [splits.count(split) for split in ("train", "val", "test")] == [70, 20, 10]


def test_near_pairs_are_found_across_chunks() -> None:
    hashes = [1 << (number % 60) | number << 4 for number in range(600)] + [1]
    pairs = {(one, other) for one, other in near_pairs(hashes, 0)}
    assert all(hashes[one] == hashes[other] for one, other in pairs)
    assert list(near_pairs([5, 5, 6], 0)) == [(0, 1)]


def test_prepare_writes_a_data_set_that_evaluate_and_train_read(tmp_path: Path) -> None:
    source = a_folder(tmp_path / "in", [f"photo{chr(97 + number)}" for number in range(20)])
    code, said = prepare("--input", source, "--output", tmp_path / "out", "--split", 0.6, 0.2, 0.2, "--json")
    assert code == 0
    told = json.loads(said[said.index("{") :])
    assert told["photos"] == {"train": 12, "val": 4, "test": 4}
    data = read_data_yaml(tmp_path / "out" / "dataset.yaml")
    (first, *rest) = split_samples(data, "test")
    assert len(rest) == 3
    assert [label for label, _ in first.truth] == ["tomato"]


def test_prepare_takes_a_tar(tmp_path: Path) -> None:
    source = a_folder(tmp_path / "in", [f"photo{chr(97 + number)}" for number in range(20)])
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as tar:
        tar.add(source, "training_data")
    assert prepare("--input", tmp_path / "data.tar.gz", "--output", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "classes.txt").read_text(encoding="utf-8") == "tomato\nbanana\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "classes.txt").unlink(), "put a classes.txt"),
        (lambda folder: (folder / "labels" / "a.txt").write_text("7 0.5 0.5 0.1 0.1\n"), "a.txt:1 names class 7, but there are 2 classes"),
        (lambda folder: (folder / "labels" / "a.txt").write_text("0 0.5 0.5 3 0.1\n"), "each 0 to 1"),
        (lambda folder: (folder / "labels" / "a.txt").write_text("tomato 0.5\n"), "is no YOLO label"),
        (lambda folder: [path.unlink() for path in (folder / "labels").iterdir()], "holds no labelled photo"),
    ],
)
def test_what_is_wrong_with_the_input_is_said_in_one_line(tmp_path: Path, change: object, said: str) -> None:
    source = a_folder(tmp_path / "in", ["a", "b", "c"])
    change(source)  # type: ignore[operator]
    code, told = prepare("--input", source, "--output", tmp_path / "out")
    assert code == 1
    assert said in " ".join(told.split())
    assert not (tmp_path / "out").exists()


def test_one_single_session_cannot_be_split_and_the_way_out_is_named(tmp_path: Path) -> None:
    source = a_folder(tmp_path / "in", [f"IMG_{number}" for number in range(10)])
    code, told = prepare("--input", source, "--output", tmp_path / "out")
    assert code == 1
    assert "--session-gap 0" in told


def test_an_output_that_holds_something_is_never_written_to(tmp_path: Path) -> None:
    source = a_folder(tmp_path / "in", [f"photo{chr(97 + number)}" for number in range(20)])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep", encoding="utf-8")
    code, told = prepare("--input", source, "--output", tmp_path / "out")
    assert (code, "is not empty" in told) == (1, True)


def test_weights_that_are_not_there_are_not_looked_for_on_the_network(tmp_path: Path) -> None:
    source = a_folder(tmp_path / "in", [f"photo{chr(97 + number)}" for number in range(20)])
    prepare("--input", source, "--output", tmp_path / "out")
    done = cli.invoke(app, ["train", "--data", str(tmp_path / "out" / "dataset.yaml"), "--model", "yolov8n.pt"])
    assert done.exit_code == 1
    assert "weights are not downloaded" in " ".join(done.output.split())


@pytest.mark.photos
@pytest.mark.skipif(not PHOTOS.exists(), reason=f"no real photos in {PHOTOS} (SAVO_TEST_PHOTOS)")
def test_a_shooting_session_of_real_photos_stays_in_one_split(tmp_path: Path) -> None:
    code, _ = prepare("--input", PHOTOS, "--output", tmp_path / "out")
    assert code == 0
    splits = {row.split(",")[1] for row in (tmp_path / "out" / "groups.csv").read_text(encoding="utf-8").splitlines() if row.startswith("IMG_")}
    assert len(splits) == 1
