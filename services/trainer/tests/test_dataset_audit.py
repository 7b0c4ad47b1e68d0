"""`savo dataset audit`: the ranking from stored detections and from models, its page, and its folds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from libs.detection.tests.tiny_models import constant_model, raw_rows
from savo_contracts.geometry import BoundingBox
from savo_datasets.audit.predictions import write_predictions
from savo_datasets.audit.suspicions import Detected
from savo_trainer.commands import register

app = typer.Typer()
register(app)
cli = CliRunner()

LABELLED = BoundingBox(x=0.3, y=0.3, width=0.4, height=0.4)
ELSEWHERE = BoundingBox(x=0.0, y=0.0, width=0.2, height=0.2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos, each with a box of an egg in its middle."""
    source = tmp_path / "in"
    for number in range(3):
        (source / "images" / "train").mkdir(parents=True, exist_ok=True)
        (source / "labels" / "train").mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(source / "images" / "train" / f"{number}.png"), pixels)
        (source / "labels" / "train" / f"{number}.txt").write_text("0 0.5 0.5 0.4 0.4\n", encoding="utf-8")
    (source / "classes.txt").write_text("egg\nmilk\n", encoding="utf-8")
    return source


@pytest.fixture
def detections(tmp_path: Path) -> Path:
    """The egg of photo 0 as it is labelled, that of photo 1 as milk, and another milk in photo 2."""
    path = tmp_path / "detections.jsonl"
    egg = Detected("egg", 0.9, LABELLED)
    found = {
        "train/0.png": [egg],
        "train/1.png": [Detected("milk", 0.8, LABELLED)],
        "train/2.png": [egg, Detected("milk", 0.7, ELSEWHERE)],
    }
    write_predictions(path, found)
    return path


def audit(*arguments: object) -> tuple[int, str]:
    result = cli.invoke(app, ["dataset", "audit", *map(str, arguments)])
    return result.exit_code, result.output


def audited(*arguments: object) -> dict[str, Any]:
    code, output = audit(*arguments, "--json")
    assert code == 0, output
    return dict(json.loads(output))


def test_likely_label_errors_are_ranked_with_the_detection_that_disagrees(folder: Path, detections: Path) -> None:
    summary = audited(folder, "--predictions", detections)
    assert (summary["photos"], summary["boxes"], summary["without_detections"]) == (3, 3, 0)
    assert summary["suspicions"] == {"missing": 1, "wrong-name": 1, "badly-placed": 0}
    shown = [(row["photo"], row["kind"], row["label"], row["suggestion"]["label"]) for row in summary["ranked"]]
    assert shown == [("train/1.png", "wrong-name", "egg", "milk"), ("train/2.png", "missing", None, "milk")]
    code, output = audit(folder, "--predictions", detections)
    assert (code, "egg may be milk with 0.80" in " ".join(output.split())) == (0, True)


def test_html_shows_the_suspicious_photos(folder: Path, detections: Path, tmp_path: Path) -> None:
    summary = audited(folder, "--predictions", detections, "--html", "--output", tmp_path / "page", "--most", 1)
    page = Path(summary["html"]).read_text(encoding="utf-8")
    assert page.count("<figure>") == 1
    assert "0.80 wrong-name: egg may be milk" in page


def test_detections_of_other_photos_are_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    write_predictions(other, {"a.jpg": []})
    code, output = audit(folder, "--predictions", other)
    assert (code, "the detections are of other photos: 'a.jpg'" in " ".join(output.split())) == (1, True)
    assert audit(folder, "--predictions", other, "--model", "best.onnx")[0] == 2


def test_a_model_judges_the_photos_and_its_detections_can_be_stored(folder: Path, tmp_path: Path) -> None:
    egg, milk = (19.0, 19.0, 45.0, 45.0, 2, 0.9), (0.0, 0.0, 13.0, 13.0, 1, 0.6)
    model, stored = tmp_path / "model.onnx", tmp_path / "stored.jsonl"
    model.write_bytes(constant_model(raw_rows([egg, milk], 3)))
    summary = audited(folder, "--model", model, "--save", stored)
    assert summary["suspicions"] == {"missing": 3, "wrong-name": 0, "badly-placed": 0}
    assert summary["ranked"] == audited(folder, "--predictions", stored)["ranked"]
    assert len(audited(folder, "--model", model, "--model", model)["ranked"]) == 3, "a model for each fold"


def test_one_model_is_reported_as_one_that_may_know_the_photos(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(constant_model(raw_rows([(19.0, 19.0, 45.0, 45.0, 2, 0.9)], 3)))
    summary = audited(folder, "--model", model, "--html", "--output", tmp_path / "page")
    page = Path(summary["html"]).read_text(encoding="utf-8")
    (warning,) = summary["warnings"]
    assert "trained on these photos" in warning
    assert warning in page
    assert "the detections agree with all labels" in page, "an empty page says why it is empty"
    assert audited(folder, "--model", model, "--model", model)["warnings"] == []


def test_detections_of_other_classes_are_ignored_and_photos_without_any_are_counted(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "coco.jsonl"
    fridge, person = Detected("refrigerator", 0.9, ELSEWHERE), Detected("person", 0.5, ELSEWHERE)
    egg = Detected("egg", 0.9, LABELLED)
    found = {"train/0.png": [egg], "train/1.png": [fridge, fridge, person], "train/2.png": []}
    write_predictions(path, found)
    summary = audited(folder, "--predictions", path)
    assert (summary["ranked"], summary["ignored_detections"]) == ([], {"refrigerator": 2, "person": 1})
    assert (summary["nothing_found"], summary["labelled_photos"]) == (2, 3)
    _, output = audit(folder, "--predictions", path, "--html", "--output", tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    for text in (" ".join(output.split()), page):
        assert "The model found nothing on 2 of 3 photos with labels: these could not be judged." in text
        assert "3 detections of 2 classes that the data set lacks: refrigerator, person." in text
    write_predictions(path, {photo: [] for photo in found})
    assert "No label could be judged." in audit(folder, "--predictions", path)[1]


def test_more_folds_than_groups_are_refused_before_a_training(folder: Path, tmp_path: Path) -> None:
    code, output = audit(folder, "--folds", 4, "--output", tmp_path / "audit")
    assert (code, "fewer than 4 groups" in " ".join(output.split())) == (1, True)
    assert not (tmp_path / "audit").exists()
