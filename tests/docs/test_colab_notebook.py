"""docs/train_on_colab.ipynb, executed from a packed data set to a registered model."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import nbformat
import pytest

from savo_demo.drawing.scene_folder import write_scenes
from savo_demo.drawing.scenes import SceneSettings, draw_scenes
from tests.parts.wheel import running_wheel

NOTEBOOK = Path(__file__).parents[2] / "docs/train_on_colab.ipynb"
SMALL = {"EPOCHS": "1", "BATCH": "4", "DEVICE": "cpu", "IMGSZ": "96"}


def test_the_notebook_is_valid_and_has_no_outputs() -> None:
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    assert [cell for cell in notebook.cells if cell.get("outputs")] == []


@pytest.mark.real
@pytest.mark.torch
@pytest.mark.slow(120)
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    importlib.util.find_spec("ultralytics") is None, reason="ultralytics is not installed (uv sync --extra yolo)"
)
def test_the_notebook_unpacks_trains_and_registers(tmp_path: Path) -> None:
    pack_data_set(tmp_path)
    shutil.copy(NOTEBOOK, tmp_path)
    with running_wheel(tmp_path / "savo", tmp_path / "scenes", {}) as wheel:
        done = tmp_path / "done.ipynb"
        environment = clean_environment() | SMALL | {"DATA_SET": str(tmp_path / "savo_v1.tar.gz")}
        execute = [
            str(Path(sys.executable).with_name("jupyter-execute")),
            "--timeout=1500",
            f"--output={done}",
            str(tmp_path / NOTEBOOK.name),
        ]
        executed = subprocess.run(
            execute,
            cwd=tmp_path,
            env=environment | {"SAVO_DATA_DIR": str(wheel.data_dir), "IPYTHONDIR": str(tmp_path / "ipython")},
            capture_output=True,
            text=True,
            check=False,
        )
    assert executed.returncode == 0, executed.stderr[-4000:]
    printed = outputs(done)
    assert "datasets/savo_v1/dataset.yaml" in printed
    assert "runs/train/savo_v1/weights/best.onnx" in printed
    assert "v1: refused by the gate" in printed, "one epoch on small scenes teaches nothing"


def pack_data_set(folder: Path) -> None:
    """A data set that was prepared elsewhere: its folder is renamed before it is packed."""
    write_scenes(folder / "scenes", draw_scenes(12, seed=7, settings=SceneSettings(160, 120)))
    prepare = ["prepare", "--input", str(folder / "scenes"), "--output", str(folder / "prepared"), "--allow-gaps"]
    subprocess.run(
        [sys.executable, "-m", "savo_cli", *prepare], check=True, capture_output=True, env=clean_environment()
    )
    (folder / "prepared").rename(folder / "savo_v1")
    with tarfile.open(folder / "savo_v1.tar.gz", "w:gz") as tar:
        tar.add(folder / "savo_v1", "savo_v1")
    shutil.rmtree(folder / "savo_v1")


def clean_environment() -> dict[str, str]:
    """As in an activated virtual environment, without settings of the product."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SAVO_", "R2_"))}
    return clean | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def outputs(notebook: Path) -> str:
    """Everything that the cells printed."""
    read: Any = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    return "".join(output.get("text", "") for cell in read.cells for output in cell.get("outputs", []))
