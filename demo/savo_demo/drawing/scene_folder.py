"""Drawn scenes as a folder in YOLO form: `images/`, `labels/`, `data.yaml`, `subjects.csv`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from savo_datasets.groups import SUBJECTS_FILE
from savo_datasets.labels import format_labels
from savo_datasets.yolo_writer import add_photo, create_folder
from savo_demo.drawing.scenes import CLASSES, Scene

__all__ = ["write_scene", "write_scenes"]


def write_scenes(folder: Path, scenes: Iterable[Scene]) -> int:
    """The whole form with these scenes; how many there were.

    Each is a group of its own in `subjects.csv`: the numbers in their names are no camera's.
    """
    create_folder(folder, CLASSES)
    names = [write_scene(folder, scene).stem for scene in scenes]
    rows = "".join(f"{name},{name}\n" for name in names)
    (folder / SUBJECTS_FILE).write_text(f"name,group\n{rows}", encoding="utf-8")
    return len(names)


def write_scene(folder: Path, scene: Scene) -> Path:
    """Into a folder that was started; the photo's path."""
    return add_photo(folder, f"{scene.name}.jpg", scene.jpeg, format_labels(scene.truth, CLASSES))
