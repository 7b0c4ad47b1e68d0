"""The guide's commands from collected data to a served file, one after the other, on data of the app's API."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from savo_demo.drawing.scenes import Scene, SceneSettings, draw_scenes
from tests.docs.guide_page import guide_rows
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

PREPARE_TAR = (
    "savo prepare --input ../api/training_data/training_data.tar.gz --output ./datasets/from_tar --split 0.7 0.2 0.1"
)
ON_THE_CPU = {"--epochs 100": "--epochs 1", "--device 0": "--device cpu"}
"""Changes of the page's lines: the tests have no GPU."""
REPOSITORY = "/opt/render/project/src"
GIT_SETTINGS = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_COUNT": "3",
    "GIT_CONFIG_KEY_0": "user.name",
    "GIT_CONFIG_VALUE_0": "an engineer",
    "GIT_CONFIG_KEY_1": "user.email",
    "GIT_CONFIG_VALUE_1": "engineer@example.com",
    "GIT_CONFIG_KEY_2": "push.autoSetupRemote",
    "GIT_CONFIG_VALUE_2": "true",
}

SIZE = (320, 240)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with `services/api/training_data`, twelve photos of six people, and `services/ml`."""
    root = tmp_path / "src"
    scenes = draw_scenes(12, seed=7, settings=SceneSettings(*SIZE))
    for number, scene in enumerate(scenes):
        store_scene(root / "services/api/training_data", scene, number)
    (root / "services/ml").mkdir()
    run(
        f"git init --quiet --bare {tmp_path}/remote && git init --quiet . && git remote add origin {tmp_path}/remote",
        root,
    )
    (root / ".gitignore").write_text("runs/\n")
    return root


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
        ["bash", "-c", line],
        cwd=folder,
        env=clean | GIT_SETTINGS | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_lines_of_the_guide_run_one_after_the_other(repository: Path) -> None:
    ml, printed, folder = repository / "services/ml", {}, repository
    for _, line in guide_rows("From collected data to a served model"):
        if line.startswith("cd "):
            folder = repository / line.removeprefix("cd ").removeprefix(REPOSITORY).lstrip("/")
            continue
        if line.startswith("savo models export"):
            (ml / "runs/train/savo_v1/weights/best.onnx").unlink()
        for page, here in ON_THE_CPU.items():
            line = line.replace(page, here)
        printed[" ".join(line.split()[:2])] = run(line, folder)
    prepared = printed["savo prepare"]
    assert "counted: 12 items without a box\nnext: savo train --data datasets/savo_v1/dataset.yaml\n" in prepared
    size = (ml / "runs/train/savo_v1/weights/best.onnx").stat().st_size / 1e6
    assert f"best.onnx: {size:.1f} MB, under 100 MB: add it to the git repository" in printed["savo train"]
    assert "  git add -f runs/train/savo_v1/weights/best.onnx\n" in printed["savo models"]
    pushed = run("git ls-tree -r --name-only HEAD", repository.parent / "remote")
    assert pushed == "services/ml/runs/train/savo_v1/weights/best.onnx\n"


def test_a_tar_of_the_folder_gives_the_same_data_set(repository: Path) -> None:
    (tar, prepare), ml = guide_lines("tar", "savo prepare"), repository / "services/ml"
    run(tar, repository / "services/api/training_data")
    assert run(PREPARE_TAR, ml).replace("from_tar", "savo_v1") == run(prepare, ml)
    names = [sorted(path.name for path in (ml / "datasets" / name).rglob("*.jpg")) for name in ("savo_v1", "from_tar")]
    assert names[0] == names[1]
    assert len(names[0]) == 12


def guide_lines(*beginnings: str) -> list[str]:
    lines = [line for _, line in guide_rows("From collected data to a served model")]
    return [next(line for line in lines if line.startswith(beginning)) for beginning in beginnings]
