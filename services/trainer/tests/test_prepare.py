"""`savo prepare` with folders and tars, and the inputs that it refuses."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from savo_datasets.yolo_folder import read_data_yaml
from savo_trainer.commands import register
from savo_trainer.models.evaluation import split_samples

REPOSITORY = Path(__file__).parents[3]
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "classes.txt").unlink(), "add a classes.txt"),
        (
            lambda folder: (folder / "labels" / "a.txt").write_text("7 0.5 0.5 0.1 0.1\n"),
            "a.txt:1 has class id 7, but there are 2 classes",
        ),
        (lambda folder: (folder / "labels" / "a.txt").write_text("0 0.5 0.5 3 0.1\n"), "each 0 to 1"),
        (lambda folder: (folder / "labels" / "a.txt").write_text("tomato 0.5\n"), "is not a YOLO label"),
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


def test_a_single_session_cannot_be_split_and_the_error_names_the_option(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "in", [f"IMG_{number}" for number in range(10)])
    code, output = prepare("--input", source, "--output", tmp_path / "out")
    assert code == 1
    assert "--session-gap 0" in output


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


@pytest.mark.photos
@pytest.mark.skipif(not PHOTOS.exists(), reason=f"no real photos in {PHOTOS} (SAVO_TEST_PHOTOS)")
def test_a_shooting_session_of_real_photos_stays_in_one_split(tmp_path: Path) -> None:
    code, _ = prepare("--input", PHOTOS, "--output", tmp_path / "out")
    assert code == 0
    splits = {
        row.split(",")[1]
        for row in (tmp_path / "out" / "groups.csv").read_text(encoding="utf-8").splitlines()
        if row.startswith("IMG_")
    }
    assert len(splits) == 1
