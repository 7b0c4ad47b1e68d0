"""Writer of folders in YOLO form: data sets with splits, and folders that are extended photo by photo."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from savo_datasets.splits import SPLITS

__all__ = ["add_photo", "create_folder", "place_photo", "write_data_yaml", "write_description"]


def place_photo(photo: Path, labels: str, split: str, output: Path, *, link: bool = False) -> None:
    """Add a photo, byte for byte, and its labels to a split. A number is added to a name that exists there.

    `link`: make a hard link instead of a copy; `photo` must not be changed afterwards.
    """
    images_folder, labels_folder = output / "images" / split, output / "labels" / split
    images_folder.mkdir(parents=True, exist_ok=True)
    labels_folder.mkdir(parents=True, exist_ok=True)
    stem, count = photo.stem, 1
    while (labels_folder / f"{stem}.txt").exists():
        count += 1
        stem = f"{photo.stem}~{count}"
    (_link_or_copy if link else shutil.copyfile)(photo, images_folder / f"{stem}{photo.suffix}")
    (labels_folder / f"{stem}.txt").write_text(labels, encoding="utf-8")


def write_description(
    output: Path,
    names: Sequence[str],
    *,
    root: Path | None = None,
    present: Sequence[str] = SPLITS,
) -> Path:
    """Write classes.txt and dataset.yaml, and return the latter's path.

    `root`: the data set's final folder when it is not `output`. `present`: splits with photos.
    """
    (output / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return write_data_yaml(output / "dataset.yaml", names, root=root, present=present)


def write_data_yaml(
    target: Path,
    names: Sequence[str],
    *,
    root: Path | None = None,
    present: Sequence[str] = SPLITS,
) -> Path:
    """Write a data set's description as ultralytics reads it, for photos under images/<split>/.

    ultralytics needs val photos to measure on between epochs. Without any it gets the training photos, never the
    holdout, which no training may use.
    """
    folders = {"val": "images/train"} | {split: f"images/{split}" for split in present}
    splits = {split: folders[split] for split in SPLITS if split in folders}
    content = {"path": str((root or target.parent).resolve()), **splits, "nc": len(names)}
    _dump(target, content | {"names": dict(enumerate(names))})
    return target


def create_folder(folder: Path, names: Sequence[str], *, root: Path | None = None) -> None:
    """Create an empty folder without splits: images/, labels/, data.yaml. Raises `OSError` when it is not writable.

    `root`: the final folder when it is not `folder`.
    """
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    content = {"path": str((root or folder).resolve()), "train": "images", "val": "images", "nc": len(names)}
    _dump(folder / "data.yaml", content | {"names": dict(enumerate(names))})


def add_photo(folder: Path, name: str, photo: bytes, labels: str) -> Path:
    """Add a photo and its labels to a folder of `create_folder`, and return the photo's path.

    The labels are written first and the photo by rename, so that a reader that finds the photo finds its labels.
    """
    target = folder / "images" / name
    (folder / "labels" / f"{target.stem}.txt").write_text(labels, encoding="utf-8")
    part = target.with_suffix(".part")
    part.write_bytes(photo)
    part.replace(target)
    return target


def _link_or_copy(source: Path, target: Path) -> None:
    """Hard link where the file system supports it, otherwise a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _dump(target: Path, content: Mapping[str, Any]) -> None:
    target.write_text(yaml.safe_dump(dict(content), allow_unicode=True, sort_keys=False), encoding="utf-8")
