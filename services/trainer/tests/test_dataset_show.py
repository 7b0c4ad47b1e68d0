"""`savo dataset show`: a summary of a data set, and contact sheets."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from savo_trainer.commands import register

app = typer.Typer()
register(app)
cli = CliRunner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four photos in two splits; one has two boxes at one place, one is flat."""
    source = tmp_path / "in"
    for number, split in enumerate(["train", "train", "train", "val"]):
        pixels = np.random.default_rng(number).integers(0, 255, (90, 100, 3), dtype=np.uint8)
        (source / "images" / split).mkdir(parents=True, exist_ok=True)
        (source / "labels" / split).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(source / "images" / split / f"{number}.png"), pixels // 64 if number == 2 else pixels)
        rows = "0 0.5 0.5 0.4 0.4\n" + ("1 0.5 0.5 0.4 0.42\n" if number == 1 else "")
        (source / "labels" / split / f"{number}.txt").write_text(rows, encoding="utf-8")
    (source / "classes.txt").write_text("egg\nmilk\n", encoding="utf-8")
    return source


def show(*arguments: object) -> tuple[int, str]:
    result = cli.invoke(app, ["dataset", "show", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_most_doubtful_photos_come_first(folder: Path) -> None:
    code, output = show(folder, "--json")
    assert code == 0, output
    summary = json.loads(output)
    assert summary["photos"] == {"train": 3, "val": 1}
    assert summary["class_boxes"] == {"egg": {"train": 3, "val": 1}, "milk": {"train": 1, "val": 0}}
    (worst, *_) = summary["worst"]
    assert worst["photo"].endswith("1.png")
    assert worst["reasons"] == ["egg and milk at one place (IoU 0.95)"]


def test_html_writes_a_page_and_a_sheet_with_the_boxes(folder: Path, tmp_path: Path) -> None:
    code, output = show(folder, "--html", "--output", tmp_path / "page", "--pictures", 3)
    assert code == 0, output
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 3
    assert page.index("1.png") < page.index("2.png"), "overlapping boxes come before a flat photo"
    assert "http" not in page, "the page loads nothing"
    with Image.open(tmp_path / "page" / "sheet.png") as sheet:
        assert sheet.width > 3 * 240


def test_the_output_and_the_page_name_what_is_shown_and_why_photos_are_doubtful(folder: Path, tmp_path: Path) -> None:
    (folder / "labels" / "val" / "3.txt").write_text("0 0.5 0.5 0.02 0.02\n", encoding="utf-8")
    code, output = show(folder, "--html", "--output", tmp_path / "page", "--pictures", 1)
    assert code == 0, output
    flat = " ".join(output.split())
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert json.loads(show(folder, "--json")[1])["doubts"] == {
        "overlap": 1,
        "tiny": 1,
        "whole-photo": 0,
        "long": 0,
        "least-sharp": 0,
    }
    for text in (flat, page):
        assert "2 of 4 photos are doubtful (boxes overlap: 1, a box is tiny: 1)." in text
        assert "1 of 4 photos is shown" in text
    assert "2 of 2 doubtful photos are listed." in flat
    assert "with 1 of the 2 doubtful, which come first." in page
    assert str(tmp_path / "page" / "sheet.png") in output.replace("\n", "")


def test_the_title_names_the_filter_and_counts_agree_with_their_nouns(folder: Path, tmp_path: Path) -> None:
    show(folder, "--html", "--output", tmp_path / "page", "--class", "egg", "--split", "val")
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert f"<h1>{folder}, class egg, split val</h1>" in page
    assert "1 of 1 photo is shown" in page
    assert "val, 1 box<" in page


def test_photos_are_chosen_by_class_and_split(folder: Path) -> None:
    assert json.loads(show(folder, "--class", "milk", "--json")[1])["photos"] == {"train": 1}
    assert json.loads(show(folder, "--split", "val", "--json")[1])["photos"] == {"val": 1}
    code, output = show(folder, "--class", "bread")
    assert (code, "there is no class 'bread': the classes are egg, milk" in output) == (1, True)


def test_a_folder_in_no_known_format_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    code, output = show(tmp_path)
    assert code == 1
    for name in ("YOLO", "COCO", "Pascal VOC", "Label Studio"):
        assert f"  {name}: " in output
