"""Photos and labels in a folder, in YOLO form: `images/`, `labels/`, `data.yaml` with the names by class id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from savo_contracts.geometry import BoundingBox
from savo_demo.drawing.scenes import CLASSES, Scene, Truth, label_lines

PHOTO_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp"})


class FolderError(Exception):
    """A folder that is not in YOLO form; the message says what is missing."""


@dataclass(frozen=True)
class LabelledPhoto:
    """One photo of a YOLO-form folder with its truth."""

    path: Path
    truth: tuple[Truth, ...]


def start_folder(folder: Path, names: Sequence[str] = CLASSES) -> None:
    """Make the empty form. Raises `OSError` when the place cannot be written."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    card = {"path": str(folder.resolve()), "train": "images", "val": "images", "nc": len(names), "names": dict(enumerate(names))}
    (folder / "data.yaml").write_text(yaml.safe_dump(card, sort_keys=False), encoding="utf-8")


def write_scene(folder: Path, scene: Scene) -> Path:
    """Labels first, then the photo by rename: whoever sees the photo sees its truth. Returns the photo's path."""
    return write_photo(folder, f"{scene.name}.jpg", scene.jpeg, label_lines(scene.truth))


def write_photo(folder: Path, name: str, photo: bytes, labels: str) -> Path:
    target = folder / "images" / name
    (folder / "labels" / f"{target.stem}.txt").write_text(labels, encoding="utf-8")
    part = target.with_suffix(".part")
    part.write_bytes(photo)
    part.replace(target)
    return target


def write_scenes(folder: Path, scenes: Iterable[Scene]) -> int:
    """The whole form with these scenes; how many they were. Each is a group of its own in `subjects.csv`: numbers here are no camera's."""
    start_folder(folder)
    names = [write_scene(folder, scene).stem for scene in scenes]
    (folder / "subjects.csv").write_text("name,group\n" + "".join(f"{name},{name}\n" for name in names), encoding="utf-8")
    return len(names)


def read_names(folder: Path) -> tuple[str, ...]:
    """Names by class id from `data.yaml` (list or mapping) or `classes.txt`. Raises `FolderError`."""
    card = next((folder / name for name in ("data.yaml", "dataset.yaml", "data.yml") if (folder / name).is_file()), None)
    if card is None:
        plain = next((folder / name for name in ("classes.txt", "labels/classes.txt") if (folder / name).is_file()), None)
        if plain is None:
            raise FolderError(f"{folder} has no data.yaml and no classes.txt, so its class ids have no names")
        return tuple(line.strip() for line in plain.read_text(encoding="utf-8").splitlines() if line.strip())
    names = (yaml.safe_load(card.read_text(encoding="utf-8")) or {}).get("names")
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=int)]
    if not isinstance(names, list) or not names:
        raise FolderError(f"{card} names no classes (`names:`)")
    return tuple(str(name) for name in names)


def photo_paths(folder: Path) -> list[Path]:
    """Photos by name. Raises `FolderError` when there is no `images/`."""
    images = folder / "images"
    if not images.is_dir():
        raise FolderError(f"{folder} has no folder images/")
    return sorted(path for path in images.rglob("*") if path.suffix.lower() in PHOTO_ENDINGS)


def labels_of(photo: Path, folder: Path) -> Path:
    """Where the labels of a photo are: the same way under `labels/`."""
    return (folder / "labels" / photo.relative_to(folder / "images")).with_suffix(".txt")


def read_truth(photo: Path, folder: Path, names: Sequence[str]) -> tuple[Truth, ...]:
    """Boxes and outlines (as their boxes) of one photo; none when it has no label file. Raises `FolderError` on a line that is neither."""
    path = labels_of(photo, folder)
    if not path.is_file():
        return ()
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return tuple(truth for line in lines if (truth := _truth_of(line, names, path)))


def _truth_of(line: list[str], names: Sequence[str], path: Path) -> Truth | None:
    try:
        name, numbers = names[int(line[0])], [float(value) for value in line[1:]]
    except (ValueError, IndexError):
        raise FolderError(f"{path}: {' '.join(line)!r} is no YOLO label of the {len(names)} classes") from None
    if len(numbers) == 4:
        x, y, width, height = numbers
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    elif len(numbers) >= 6 and len(numbers) % 2 == 0:
        corners = (min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2]))
    else:
        raise FolderError(f"{path}: {' '.join(line)!r} is neither a box nor an outline")
    box = BoundingBox.clipped(*corners)
    return Truth(name, box) if box else None


def read_folder(folder: Path) -> list[LabelledPhoto]:
    """Every photo with its truth. Raises `FolderError`."""
    names = read_names(folder)
    return [LabelledPhoto(path, read_truth(path, folder, names)) for path in photo_paths(folder)]
