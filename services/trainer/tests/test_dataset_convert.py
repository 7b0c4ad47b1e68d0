"""`savo dataset convert`: from one format to another, complete or not at all."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

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
    """A COCO folder with two photos."""
    source = tmp_path / "in"
    for number, name in enumerate(("one.jpg", "two.jpg")):
        (source / "train").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 60), (90 * number, 0, 0)).save(source / "train" / name)
    images = [{"id": 1, "file_name": "one.jpg", "width": 80, "height": 60}, {"id": 2, "file_name": "two.jpg"}]
    rows = [{"id": number, "image_id": number, "category_id": 4, "bbox": [8, 6, 32, 24]} for number in (1, 2)]
    content = {"images": images, "annotations": rows, "categories": [{"id": 4, "name": "egg"}]}
    (source / "train" / "_annotations.coco.json").write_text(json.dumps(content), encoding="utf-8")
    return source


def convert(*arguments: object) -> tuple[int, str]:
    result = cli.invoke(app, ["dataset", "convert", *map(str, arguments)])
    return result.exit_code, result.output


def test_photos_and_boxes_are_written_in_the_other_format(folder: Path, tmp_path: Path) -> None:
    code, output = convert(folder, tmp_path / "out", "--to", "yolo", "--json")
    assert code == 0, output
    assert json.loads(output)["photos"] == {"train": 2}
    labels = (tmp_path / "out" / "labels" / "train" / "one.txt").read_text(encoding="utf-8")
    assert labels == "0 0.300000 0.300000 0.400000 0.400000\n"
    copy = tmp_path / "out" / "images" / "train" / "one.jpg"
    assert copy.read_bytes() == (folder / "train" / "one.jpg").read_bytes()
    assert (tmp_path / "out" / "dataset.yaml").read_text(encoding="utf-8").splitlines() == [
        f"path: {tmp_path / 'out'}",
        "train: images/train",
        "val: images/train",
        "nc: 1",
        "names:",
        "  0: egg",
    ]


def test_what_cannot_be_used_is_counted_or_refused_by_strict(folder: Path, tmp_path: Path) -> None:
    (folder / "train" / "two.jpg").write_bytes(b"cut")
    code, output = convert(folder, tmp_path / "strict", "--to", "voc", "--strict")
    assert (code, "1 unreadable" in output, (tmp_path / "strict").exists()) == (1, True, False)
    code, output = convert(folder, tmp_path / "out", "--to", "voc")
    assert code == 0
    assert "left out: 1 (unreadable), such as train/_annotations.coco.json: images[1]: two.jpg" in output


def test_a_full_disk_leaves_nothing_that_blocks_the_next_try(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copyfile = shutil.copyfile
    copied: list[Path] = []

    def copy_once(source: Path, target: Path) -> None:
        if copied:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        copied.append(Path(copyfile(source, target)))

    with monkeypatch.context() as patch:
        patch.setattr("savo_datasets.formats.writing.shutil.copyfile", copy_once)
        code, output = convert(folder, tmp_path / "out", "--to", "coco")
    assert (code, "No space left on device" in output) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert convert(folder, tmp_path / "out", "--to", "coco")[0] == 0
