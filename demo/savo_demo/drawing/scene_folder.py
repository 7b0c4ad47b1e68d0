"""YOLO folders of generated scenes: `images/`, `labels/`, `data.yaml`, `subjects.csv`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from savo_datasets.groups import SUBJECTS_FILE
from savo_datasets.labels import format_labels
from savo_datasets.synthetic import mark_synthetic
from savo_datasets.yolo_writer import add_photo, create_folder
from savo_demo.drawing.scenes import CLASSES, Scene

__all__ = ["write_scene", "write_scenes"]


def write_scenes(
    folder: Path,
    scenes: Iterable[Scene],
    classes: Sequence[str] = CLASSES,
    *,
    marked: bool = False,
    root: Path | None = None,
) -> int:
    """Write a folder with these scenes and return their number. `classes`: in the order of their ids.

    `marked`: the metadata of each photo say that it is synthetic, so that `savo prepare` puts it into train. Scenes
    that stand for photos of users are not marked. `root`: the final folder when it is not `folder`.

    Each scene is a group of its own in `subjects.csv`, because consecutive numbers do not mean one camera session.
    """
    create_folder(folder, classes, root=root)
    names = [write_scene(folder, scene, classes, marked=marked).stem for scene in scenes]
    rows = "".join(f"{name},{name}\n" for name in names)
    (folder / SUBJECTS_FILE).write_text(f"name,group\n{rows}", encoding="utf-8")
    return len(names)


def write_scene(folder: Path, scene: Scene, classes: Sequence[str] = CLASSES, *, marked: bool = False) -> Path:
    """Add a scene to an existing folder and return the path of its photo. See `write_scenes`."""
    photo = mark_synthetic(scene.jpeg) if marked else scene.jpeg
    return add_photo(folder, f"{scene.name}.jpg", photo, format_labels(scene.truth, classes))
