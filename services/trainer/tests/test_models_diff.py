"""`savo models diff`, with small networks that return constant boxes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from libs.detection.tests.tiny_models import NAMES, constant_model, raw_rows
from savo_contracts.documents import (
    CLASSES_KEY,
    ClassList,
    IngredientClass,
    ManifestLine,
    ModelReport,
    manifest_key,
    model_key,
)
from savo_contracts.samples import Split
from savo_contracts.training import Evaluation
from savo_runtime.settings import RuntimeSettings
from savo_runtime.storage.factory import open_store
from savo_trainer.commands import register

app = typer.Typer()
register(app)
cli = CliRunner()

APPLE, MILK = (16, 16, 32, 32, 0, 0.9), (40, 32, 60, 56, 1, 0.8)
EGG_WITHOUT_LABEL = (2, 2, 12, 12, 2, 0.7)
"""Pixels of the 64 × 64 input, class, score."""
LABELS = "0 0.375 0.375 0.25 0.25\n1 0.78125 0.6875 0.3125 0.375\n"
OLD, NEW = constant_model(raw_rows([APPLE, EGG_WITHOUT_LABEL], 3)), constant_model(raw_rows([APPLE, MILK], 3))


def photo(seed: int) -> bytes:
    out = BytesIO()
    Image.new("RGB", (128, 128), (seed * 40 % 256, 120, 90)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two ONNX files and a folder of three labelled photos."""
    monkeypatch.setenv("SAVO_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "old.onnx").write_bytes(OLD)
    (tmp_path / "new.onnx").write_bytes(NEW)
    for kind in ("images", "labels"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
    (tmp_path / "photos" / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES))
    for number in range(3):
        (tmp_path / "photos" / "images" / f"{NAMES[number]}.jpg").write_bytes(photo(number))
        (tmp_path / "photos" / "labels" / f"{NAMES[number]}.txt").write_text(LABELS)
    return tmp_path


def summary_of(*arguments: object) -> dict[str, Any]:
    result = cli.invoke(app, ["models", "diff", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    summary: dict[str, Any] = json.loads(result.stdout)
    return summary


def refused(*arguments: object) -> str:
    result = cli.invoke(app, ["models", "diff", *map(str, arguments)])
    assert result.exit_code == 1, result.output
    return " ".join(result.output.split())


def test_two_models_on_labelled_photos_give_figures_and_pictures(folder: Path) -> None:
    summary = summary_of(
        folder / "old.onnx", folder / "new.onnx", "--data", folder / "photos", "--output", folder / "out"
    )
    assert summary["photos"] == {"compared": 3, "changed": 3, "unchanged": 0, "unreadable": 0}
    assert (summary["map50"]["before"]["point"], summary["map50"]["after"]["point"]) == pytest.approx((0.4975, 0.995))
    assert summary["gain"]["point"] == pytest.approx(0.4975)
    assert summary["gain"]["lower"] > 0
    assert [(row["label"], row["boxes"], round(row["gain"], 3)) for row in summary["classes"]] == [
        ("milk", 3, 0.995),
        ("apple", 3, 0.0),
    ]
    assert summary["boxes"] == {"same": 3, "moved": 0, "relabelled": 0, "gained": 3, "lost": 3}
    assert summary["judged"] == {
        "gained_right": 3,
        "gained_wrong": 0,
        "lost_right": 0,
        "lost_wrong": 3,
        "now_right": 0,
        "now_wrong": 0,
    }
    assert summary["latency_ms"]["photos"] == 3
    assert summary["models"]["after"]["bytes"] == len(NEW)
    lines = [json.loads(line) for line in (folder / "out" / "differences.jsonl").read_text().splitlines()]
    assert [line["right"] for line in lines] == [{"before": 1, "after": 2}] * 3
    page = (folder / "out" / "index.html").read_text()
    assert page.count("<figure>") == 3
    assert "gained: milk 0.80 – right" in page
    with Image.open(folder / "out" / "pictures" / "001.jpg") as sheet:
        assert sheet.width > 2 * sheet.height * 0.7, "both results are side by side"


def test_swapped_models_turn_the_gain_into_a_loss_and_replace_the_page(folder: Path) -> None:
    options = ("--data", folder / "photos", "--output", folder / "out")
    summary_of(folder / "old.onnx", folder / "new.onnx", *options)
    summary = summary_of(folder / "new.onnx", folder / "old.onnx", *options, "--pictures", 1)
    assert summary["gain"]["upper"] < 0
    assert summary["judged"]["lost_right"] == 3
    assert [path.name for path in (folder / "out" / "pictures").iterdir()] == ["001.jpg"]
    assert "2 more photos changed" in (folder / "out" / "index.html").read_text()


def test_without_labels_the_output_shows_changes_and_no_judgement(folder: Path) -> None:
    unlabelled = folder / "photos" / "images"
    (unlabelled / "broken.jpg").write_bytes(b"no photo")
    summary = summary_of(folder / "old.onnx", folder / "new.onnx", "--data", unlabelled)
    assert (summary["map50"], summary["gain"], summary["classes"], summary["judged"]) == (None, None, [], None)
    assert summary["photos"] == {"compared": 3, "changed": 3, "unchanged": 0, "unreadable": 1}
    assert summary["boxes"]["gained"] == 3
    result = cli.invoke(
        app, ["models", "diff", str(folder / "old.onnx"), str(folder / "new.onnx"), "--data", str(unlabelled)]
    )
    assert "not which is better" in result.stdout


def test_versions_of_the_registry_are_compared_on_the_newest_holdout(folder: Path) -> None:
    asyncio.run(fill_registry())
    summary = summary_of("v1", "models:/ingredients/v2")
    assert summary["data"] == {"name": "the holdout of ds-000010", "photos": 2, "boxes": 4}, (
        "the newest data set, without its training photos"
    )
    assert [summary["models"][side]["name"] for side in ("before", "after")] == ["v1", "v2"]
    assert summary["page"].startswith(str(folder / "data" / "diffs"))
    assert not list((folder / "data").rglob("savo-holdout-*"))


def test_a_folder_whose_data_yaml_names_missing_splits_is_used_in_full(folder: Path) -> None:
    (folder / "photos" / "classes.txt").unlink()
    (folder / "photos" / "data.yaml").write_text(json.dumps({"test": "../test/images", "names": list(NAMES)}))
    summary = summary_of(folder / "old.onnx", folder / "new.onnx", "--data", folder / "photos")
    assert (summary["data"]["photos"], summary["data"]["boxes"]) == (3, 6)


def test_photos_of_a_single_session_give_no_interval(folder: Path) -> None:
    for kind in ("images", "labels"):
        for number, path in enumerate(sorted((folder / "photos" / kind).iterdir())):
            path.rename(path.with_stem(f"IMG_{1000 + number}"))
    summary = summary_of(folder / "old.onnx", folder / "new.onnx", "--data", folder / "photos")
    assert (summary["gain"]["lower"], summary["map50"]["after"]["upper"]) == (None, None)
    (milk, _) = summary["classes"]
    assert (milk["groups"], milk["lower"], milk["upper"]) == (1, None, None)
    result = cli.invoke(
        app, ["models", "diff", str(folder / "old.onnx"), str(folder / "new.onnx"), "--data", str(folder / "photos")]
    )
    assert "on photos of one group" in result.stdout


def test_an_impossible_comparison_says_what_to_give_instead(folder: Path) -> None:
    old, new = folder / "old.onnx", folder / "new.onnx"
    assert "give --data" in refused(old, new)
    assert "savo models list" in refused("v7", new, "--data", folder / "photos")
    assert "the path of an ONNX file" in refused(old, "nowhere.onnx", "--data", folder / "photos")
    assert "does not exist" in refused(old, new, "--data", folder / "nowhere")
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("keep")
    assert "give another --output" in refused(old, new, "--data", folder / "photos", "--output", folder / "mine")
    assert (folder / "mine" / "notes.txt").read_text() == "keep"


async def fill_registry() -> None:
    store = open_store(RuntimeSettings())
    for version, onnx in (("v1", OLD), ("v2", NEW)):
        await store.put(model_key(version, "model.onnx"), onnx)
        await store.put(model_key(version, "report.json"), report(version, onnx).model_dump_json().encode())
    classes = ClassList(classes=tuple(IngredientClass(id=number, label=label) for number, label in enumerate(NAMES)))
    await store.put(CLASSES_KEY, classes.model_dump_json().encode())
    lines = []
    for number in range(4):
        sha256 = hashlib.sha256(photo(number)).hexdigest()
        line = ManifestLine(
            sha256=sha256,
            split=Split.TEST if number < 2 else Split.TRAIN,
            subject=f"s{number}",
            image_key=f"samples/images/{sha256}.jpg",
            labels_key=f"samples/labels/{sha256}.txt",
            labels_sha256=hashlib.sha256(LABELS.encode()).hexdigest(),
        )
        lines.append(line.model_dump_json() + "\n")
        await store.put(line.image_key, photo(number))
        await store.put(line.labels_key, LABELS.encode())
    await store.put(manifest_key("ds-000009"), lines[0].encode())
    await store.put(manifest_key("ds-000010"), "".join(lines).encode())
    await store.close()


def report(version: str, onnx: bytes) -> ModelReport:
    evaluation = Evaluation(map50=0.5, map50_lower=0.4, map50_upper=0.6, images=2, boxes=4)
    file = {
        "onnx_sha256": hashlib.sha256(onnx).hexdigest(),
        "onnx_bytes": len(onnx),
        "image_size": 64,
        "classes": NAMES,
    }
    origin = {"run_id": "r", "dataset_version": "ds-000009", "train_samples": 1, "created_at": datetime.now(UTC)}
    return ModelReport.model_validate(
        {"version": version, "evaluation": evaluation, "verdict": "passed", **file, **origin}
    )
