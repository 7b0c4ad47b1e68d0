"""`savo synthesize`: difficulties, classes, seeds, and the mark of the photos."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from savo_datasets.synthetic import is_synthetic
from savo_datasets.yolo_folder import read_classes, read_data_yaml
from savo_demo.commands import register
from savo_demo.drawing.difficulty import DIFFICULTIES, Level
from savo_demo.drawing.scenes import Scene, SceneSettings, draw_scenes


def synthesize(output: Path, *options: str, count: int = 1) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, ["synthesize", "--count", str(count), "--output", str(output), *options])


def photos_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / "images").iterdir())]


def test_a_seed_and_a_difficulty_give_the_same_files(tmp_path: Path) -> None:
    for name, options in (("one", ()), ("same", ("--difficulty", "medium")), ("other", ("--difficulty", "easy"))):
        assert synthesize(tmp_path / name, "--seed", "4", *options).exit_code == 0
    assert photos_of(tmp_path / "one") == photos_of(tmp_path / "same")
    assert photos_of(tmp_path / "one") != photos_of(tmp_path / "other")


def test_hard_scenes_have_more_and_smaller_ingredients_in_less_light_than_easy_ones() -> None:
    easy, hard = (
        list(draw_scenes(5, 3, SceneSettings(320, 240, difficulty=DIFFICULTIES[level], classes=("milk", "tomato"))))
        for level in (Level.EASY, Level.HARD)
    )
    assert np.mean([len(scene.truth) for scene in easy]) < np.mean([len(scene.truth) for scene in hard])
    assert median_area(easy) > 1.5 * median_area(hard)
    assert brightness(easy) > brightness(hard) + 10


def median_area(scenes: list[Scene]) -> float:
    return float(np.median([item.bbox.area for scene in scenes for item in scene.truth]))


def brightness(scenes: list[Scene]) -> float:
    photos = [cv2.imdecode(np.frombuffer(scene.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE) for scene in scenes]
    return float(np.mean([photo.mean() for photo in photos if photo is not None]))


def test_only_the_chosen_classes_are_drawn_in_the_order_of_their_ids(tmp_path: Path) -> None:
    result = synthesize(tmp_path / "scenes", "--classes", "Tomatoes, milk", "--difficulty", "hard", "--json", count=2)
    assert json.loads(result.stdout)["classes"] == ["tomato", "milk"]
    assert list(read_classes(tmp_path / "scenes")) == ["tomato", "milk"]
    labels = "".join(path.read_text() for path in (tmp_path / "scenes" / "labels").iterdir())
    assert {line.split()[0] for line in labels.splitlines()} == {"0", "1"}


@pytest.mark.parametrize("names", ["kiwi,milk", "", "12"])
def test_a_class_without_a_drawing_is_refused_with_the_list_of_drawings(tmp_path: Path, names: str) -> None:
    result = synthesize(tmp_path / "scenes", "--classes", names)
    assert result.exit_code == 2
    message = " ".join(result.output.replace("│", " ").split())
    assert "no drawing of" in message
    assert "avocado, banana, bread" in message
    assert not (tmp_path / "scenes").exists()


def test_written_photos_are_marked_as_synthetic(tmp_path: Path) -> None:
    synthesize(tmp_path / "scenes", count=1)
    assert [is_synthetic(photo) for photo in photos_of(tmp_path / "scenes")] == [True]


def test_a_folder_with_files_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    assert synthesize(folder, "--classes", "milk").exit_code == 0
    assert read_data_yaml(folder / "data.yaml")["path"] == folder
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = synthesize(folder, "--classes", "tomato", "--seed", "2")
    assert (result.exit_code, f"{folder} is not empty: give another" in result.output) == (1, True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_as_output_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for output, problem in ((tmp_path / "file", "is a file: give a folder"), (tmp_path / "file" / "in", "File exists")):
        result = synthesize(output)
        assert (result.exit_code, problem in result.output) == (1, True), result.output
