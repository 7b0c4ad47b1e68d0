"""`savo prepare` with folders and tars, and the inputs that it refuses."""

from __future__ import annotations

import csv
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from savo_datasets import preparation
from savo_datasets.found_photos import FoundPhotos
from savo_datasets.groups import Grouping
from savo_datasets.look_alikes import RULE
from savo_datasets.splits import SPLITS
from savo_datasets.yolo_folder import read_data_yaml
from savo_trainer.commands import register
from savo_trainer.models.evaluation import split_samples
from tests.parts.app_folder import app_label, store_photo

REPOSITORY = Path(__file__).parents[3]
CONFINED = ["cured_goat_cheese", "spaghetti"]
"""Classes that one part of one session alone has, so that val and test cannot have them."""
PHOTOS = Path(os.environ.get("SAVO_TEST_PHOTOS", REPOSITORY.parent / "shared" / "data" / "epicureai12"))

app = typer.Typer()
register(app)
cli = CliRunner()


def scene(seed: int) -> bytes:
    picture = np.random.default_rng(seed).integers(0, 255, (9, 10, 3), dtype=np.uint8)
    large = cv2.resize(picture, (100, 90), interpolation=cv2.INTER_NEAREST)
    return bytes(cv2.imencode(".png", large)[1].tobytes())


def make_folder(folder: Path, names: list[str], label: str = "0 0.5 0.5 0.2 0.2\n") -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "classes.txt").write_text("tomato\nbanana\n", encoding="utf-8")
    for number, name in enumerate(names):
        (folder / "images" / f"{name}.png").write_bytes(scene(number))
        (folder / "labels" / f"{name}.txt").write_text(label, encoding="utf-8")
    return folder


def prepare(*arguments: object) -> tuple[int, str]:
    result = cli.invoke(app, ["prepare", *map(str, arguments)])
    return result.exit_code, result.output


def test_prepare_writes_a_data_set_that_evaluate_and_train_read(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", [f"photo{chr(97 + number)}" for number in range(20)])
    code, output = prepare("--input", source, "--output", tmp_path / "out", "--split", 0.6, 0.2, 0.2, "--json")
    assert code == 0
    summary = json.loads(output[output.index("{") :])
    assert summary["photos"] == {"train": 12, "val": 4, "test": 4}
    data = read_data_yaml(tmp_path / "out" / "dataset.yaml")
    (first, *rest) = split_samples(data, "test")
    assert len(rest) == 3
    assert [label for label, _ in first.truth] == ["tomato"]


def test_prepare_accepts_a_tar(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", [f"photo{chr(97 + number)}" for number in range(20)])
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as tar:
        tar.add(source, "training_data")
    assert prepare("--input", tmp_path / "data.tar.gz", "--output", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "classes.txt").read_text(encoding="utf-8") == "tomato\nbanana\n"


def make_app_folder(folder: Path) -> Path:
    """Eight photos of four people in two months, with a photo without label and a label that is cut."""
    for number in range(8):
        photo = scene(number)
        eggs: dict[str, Any] = {"class": "eggs", "bbox": {"x": 10, "y": 10, "width": 20, "height": 20}}
        label = app_label(photo, (100, 90), [eggs, {"class": "garlic"}], f"user-{number // 2}")
        store_photo(folder, photo, label, f"2025-{11 + number % 2}")
    store_photo(folder, scene(8), None)
    store_photo(folder, scene(9), '{"image_hash": ')
    return folder


def summary_of(output: str) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(output[output.index("{") :])
    return summary


def test_prepare_reads_what_the_api_of_the_app_has_stored(tmp_path: Path) -> None:
    source = make_app_folder(tmp_path / "training_data")
    code, output = prepare("--input", source, "--output", tmp_path / "out", "--split", 0.5, 0.25, 0.25, "--json")
    assert code == 0, output
    summary = summary_of(output)
    assert summary["photos"] == {"train": 4, "val": 2, "test": 2}
    assert (summary["classes"], summary["counted"]) == (["egg"], {"items without a box": 8})
    assert summary["left_out"] == {"no label file": 1, "label is not valid JSON": 1}
    (cut,) = summary["left_out_files"]["label is not valid JSON"]
    assert cut.startswith("labels/2025-12/")


def test_prepare_names_files_that_it_leaves_out(tmp_path: Path) -> None:
    source = make_app_folder(tmp_path / "training_data")
    for number in range(20, 42):
        store_photo(source, scene(number), None)
    code, output = prepare("--input", source, "--output", tmp_path / "out")
    assert code == 0, output
    assert output.count("  images/2025-12/") == 20
    assert "left out: 23 (no label file)\n" in output
    assert "  and 3 more; --json lists all\n" in output
    assert "counted: 8 items without a box\n" in output
    assert "photos with unboxed items" in output


def test_prepare_reads_the_tar_of_the_folder_of_the_app(tmp_path: Path) -> None:
    source = make_app_folder(tmp_path / "training_data")
    with tarfile.open(source / "training_data.tar.gz", "w:gz") as tar:
        for part in ("images", "labels"):
            tar.add(source / part, part)
        link = tarfile.TarInfo("images/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    output = tmp_path / "datasets" / "savo_v1"
    code, printed = prepare("--input", source / "training_data.tar.gz", "--output", output, "--json")
    assert code == 0, printed
    summary = summary_of(printed)
    assert sum(summary["photos"].values()) == 8
    assert summary["left_out_files"]["a link or device in the archive"] == ["images/link.jpg"]
    assert [path.name for path in output.parent.iterdir()] == ["savo_v1"], "the unpacked files are removed"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "classes.txt").unlink(), "add a classes.txt"),
        (lambda folder: [path.unlink() for path in (folder / "labels").iterdir()], "holds no labelled photo"),
    ],
)
def test_an_invalid_input_is_reported_in_one_line(tmp_path: Path, change: object, message: str) -> None:
    source = make_folder(tmp_path / "in", ["a", "b", "c"])
    change(source)  # type: ignore[operator]
    code, output = prepare("--input", source, "--output", tmp_path / "out")
    assert code == 1
    assert message in " ".join(output.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("7 0.5 0.5 0.1 0.1", "labels/a.txt:1: has class id 7, but there are 2 classes"),
        ("0 0.5 0.5 3 0.1", "each 0 to 1"),
        ("tomato 0.5", "is not a YOLO label"),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_or_refused_by_strict(tmp_path: Path, row: str, message: str) -> None:
    source = make_folder(tmp_path / "in", ["a", "b", "c"])
    (source / "labels" / "a.txt").write_text(f"{row}\n1 0.5 0.5 0.1 0.1\n", encoding="utf-8")
    code, output = prepare("--input", source, "--output", tmp_path / "strict", "--strict")
    assert code == 1
    assert message in " ".join(output.split())
    assert not (tmp_path / "strict").exists()
    code, output = prepare("--input", source, "--output", tmp_path / "out", "--allow-gaps", "--json")
    assert code == 0
    ((_, (file,)),) = summary_of(output)["left_out_files"].items()
    assert message in f"{file}"
    (labels,) = (tmp_path / "out" / "labels").rglob("a.txt")
    assert labels.read_text(encoding="utf-8") == "1 0.500000 0.500000 0.100000 0.100000\n"


def test_numbered_names_of_different_photos_are_no_session(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", [f"img_{number:06}" for number in range(40)])
    code, output = prepare("--input", source, "--output", tmp_path / "out", "--json")
    assert code == 0, output
    assert summary_of(output)["photos"] == {"train": 28, "val": 8, "test": 4}


def test_photos_of_one_person_are_written_with_a_warning(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", ["a", "b", "c"])
    (source / "subjects.csv").write_text("name,group\na,ann\nb,ann\nc,ann\n", encoding="utf-8")
    code, output = prepare("--input", source, "--output", tmp_path / "out")
    assert code == 0, output
    assert "warning: val has no photo" in output
    assert "has 100% of the photos and stays in one split" in output
    assert read_data_yaml(tmp_path / "out" / "dataset.yaml")["train"] == "images/train"


def test_a_class_that_train_lacks_ends_with_3_unless_gaps_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_folder(tmp_path / "in", ["a", "b", "c"])
    monkeypatch.setattr(preparation, "assign_splits", lambda groups, *_: ["val", "test", "test"])
    code, output = prepare("--input", source, "--output", tmp_path / "out")
    assert code == 3
    assert "gap: train lacks tomato" in output
    assert (tmp_path / "out" / "dataset.yaml").exists(), "the set is written all the same"
    assert prepare("--input", source, "--output", tmp_path / "again", "--allow-gaps")[0] == 0


def test_an_output_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", [f"photo{chr(97 + number)}" for number in range(20)])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep", encoding="utf-8")
    code, output = prepare("--input", source, "--output", tmp_path / "out")
    assert (code, "is not empty" in output) == (1, True)


def test_missing_weights_are_not_downloaded(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", [f"photo{chr(97 + number)}" for number in range(20)])
    prepare("--input", source, "--output", tmp_path / "out")
    result = cli.invoke(app, ["train", "--data", str(tmp_path / "out" / "dataset.yaml"), "--model", "yolov8n.pt"])
    assert result.exit_code == 1
    assert "weights are not downloaded" in " ".join(result.output.split())


@pytest.fixture(scope="module")
def found() -> FoundPhotos:
    return preparation.find_photos(PHOTOS)


@pytest.fixture(scope="module")
def look_alikes(found: FoundPhotos) -> list[tuple[str, str]]:
    """Pairs of names that connect all photos that look alike."""
    names = [photo.path.stem for photo in found.photos]
    links = list(RULE.links([photo.signature for photo in found.photos]))
    assert len(links) > 20
    return [(names[one], names[other]) for one, other in links]


def share_error(boxes: Mapping[str, Mapping[str, int]]) -> float:
    """Mean over classes and splits, in points."""
    shares = zip(SPLITS, (0.7, 0.2, 0.1), strict=True)
    errors = [abs(count[split] / sum(count.values()) - share) for split, share in shares for count in boxes.values()]
    return 100 * sum(errors) / len(errors)


@pytest.mark.photos
@pytest.mark.skipif(not PHOTOS.exists(), reason=f"no real photos in {PHOTOS} (SAVO_TEST_PHOTOS)")
@pytest.mark.parametrize("seed", range(10))
def test_real_photos_are_split_by_session_and_class(
    tmp_path: Path, found: FoundPhotos, look_alikes: list[tuple[str, str]], seed: int
) -> None:
    prepared = preparation.prepare(found, tmp_path / "out", (0.7, 0.2, 0.1), Grouping(), seed, link=False)
    assert prepared.table.gaps == {"train": [], "val": [], "test": []}
    assert prepared.table.missing == {split: CONFINED if split != "train" else [] for split in SPLITS}
    assert share_error(prepared.table.boxes) <= 10
    with (tmp_path / "out" / "groups.csv").open(encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    for one, other in look_alikes:
        assert rows[one]["split"] == rows[other]["split"], f"{one} looks like {other}"
    session = {(row["group"], row["split"]) for row in rows.values() if row["name"].startswith("IMG_")}
    assert len(session) == 3, "one session of 159 photos is cut at its two gaps of more than one missing number"


def test_a_missing_table_of_groups_is_refused(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", ["photo_a", "photo_b"])
    code, output = prepare("--input", source, "--output", tmp_path / "out", "--groups", tmp_path / "nope.csv")
    assert (code, "does not exist: give a CSV with the columns name,group" in " ".join(output.split())) == (1, True)
    assert not (tmp_path / "out").exists()
