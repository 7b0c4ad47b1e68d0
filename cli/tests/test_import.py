"""`savo import --dry-run`: a table of what would happen, and errors with their next step."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from cli.tests.conftest import Savo
from tests.exports.products import label_line, write_photo


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path / "savo"))
    data = tmp_path / "data"
    data.mkdir()
    (data / "classes.txt").write_text("Eggs\nunobtainium\n")
    write_photo(data, "cellar", label_line(0), 1)
    write_photo(data, "fridge", label_line(1), 2)
    return data


def test_a_dry_run_shows_classes_photos_and_what_is_left_out(savo: Savo, folder: Path) -> None:
    done = savo("import", folder, "--dry-run")
    assert done.exit_code == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert "Eggs │ egg │ 1 │ added" in shown
    assert "unobtainium │ unobtainium │ 1 │ unknown" in shown
    assert "a class that the catalogue lacks; --new-classes adds it: images/fridge.jpg" in shown
    assert "nothing was changed" in shown
    assert not (folder.parent / "savo/objects/samples").exists()


def test_a_zip_is_read_and_json_has_every_figure(savo: Savo, folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for path in folder.rglob("*.*"):
            archive.write(path, path.relative_to(folder))
    done = savo("import", "data.zip", "--dry-run", "--new-classes", "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["photos"], report["boxes"], report["left_out"], report["dry_run"]) == ({"new": 2}, 2, {}, True)
    assert {row["label"]: row["status"] for row in report["classes"]} == {"egg": "added", "unobtainium": "added"}
    assert list((tmp_path / "savo/imports").iterdir()) == []


def test_a_source_that_is_no_data_set_is_named(savo: Savo, folder: Path, tmp_path: Path) -> None:
    done = savo("import", "missing", "--dry-run")
    assert (done.exit_code, "missing does not exist: give a folder" in done.stderr) == (1, True)
    (tmp_path / "product/samples").mkdir(parents=True)
    (tmp_path / "product/samples/classes.json").write_text("{}")
    done = savo("import", "product", "--dry-run")
    assert (done.exit_code, "savo export --output" in done.stderr) == (1, True)
