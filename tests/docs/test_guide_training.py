"""The guide's commands from collected data to a served file, one after the other, on data of the app's API."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from savo_demo.drawing.scenes import Scene, SceneSettings, draw_scenes
from tests.parts.app_folder import app_items, app_label, store_photo

pytestmark = [
    pytest.mark.real,
    pytest.mark.torch,
    pytest.mark.slow(120),
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        importlib.util.find_spec("ultralytics") is None, reason="ultralytics is not installed (uv sync --extra yolo)"
    ),
]

# The guide's own arguments, but for the device and the number of epochs.
TAR = "tar -czf training_data.tar.gz images/ labels/"
PREPARE = "savo prepare --input ../api/training_data --output ./datasets/savo_v1 --split 0.7 0.2 0.1"
PREPARE_TAR = (
    "savo prepare --input ../api/training_data/training_data.tar.gz --output ./datasets/from_tar --split 0.7 0.2 0.1"
)
TRAIN = "savo train --data ./datasets/savo_v1/dataset.yaml --epochs 1 --batch 16 --device cpu"
EXPORT = "savo models export runs/train/savo_v1/weights/best.pt"

SIZE = (320, 240)


@pytest.fixture
def services(tmp_path: Path) -> Path:
    """`api/training_data` with twelve photos of six people, and an empty folder `ml`."""
    scenes = draw_scenes(12, seed=7, settings=SceneSettings(*SIZE))
    for number, scene in enumerate(scenes):
        store_scene(tmp_path / "api/training_data", scene, number)
    (tmp_path / "ml").mkdir()
    return tmp_path


def store_scene(folder: Path, scene: Scene, number: int) -> None:
    items = app_items(scene.truth, SIZE)
    items[0]["class"] = items[0]["class"].replace("_", " ").capitalize() + " "
    label = app_label(scene.jpeg, SIZE, [*items, {"class": "garlic"}], f"user-{number // 2}")
    store_photo(folder, scene.jpeg, label, f"2025-{11 + number % 2}")


def run(line: str, folder: Path) -> str:
    """What the line prints. Commands are found as in an activated virtual environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SAVO_", "R2_"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=clean | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_lines_of_the_guide_run_one_after_the_other(services: Path) -> None:
    data, ml = services / "api/training_data", services / "ml"
    run(TAR, data)
    prepared = run(PREPARE, ml)
    assert "counted: 12 items without a box\nnext: savo train --data datasets/savo_v1/dataset.yaml\n" in prepared
    assert run(PREPARE_TAR, ml).replace("from_tar", "savo_v1") == prepared
    names = [sorted(path.name for path in (ml / "datasets" / name).rglob("*.jpg")) for name in ("savo_v1", "from_tar")]
    assert names[0] == names[1]
    assert len(names[0]) == 12
    trained = run(TRAIN, ml)
    onnx = ml / "runs/train/savo_v1/weights/best.onnx"
    assert f"best.onnx: {onnx.stat().st_size / 1e6:.1f} MB, under 100 MB: add it to the git repository" in trained
    onnx.unlink()
    exported = run(EXPORT, ml)
    assert onnx.exists()
    assert "  git add -f runs/train/savo_v1/weights/best.onnx\n" in exported
