"""Files of a folder and its subfolders, without those that a system has put there."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

__all__ = ["PHOTO_SUFFIXES", "files_under", "is_hidden", "photo_files", "split_of"]

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_MAC_FOLDER = "__MACOSX"
_SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def files_under(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Files with one of the suffixes (in lower case), in no order, without hidden files and folders.

    A folder whose name ends like that of a file is one of them, so that it is reported. Links are not followed.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        yield from (
            Path(parent, name)
            for name in [*folders, *names]
            if not is_hidden(name) and os.path.splitext(name)[1].lower() in suffixes  # noqa: PTH122 a Path is slower
        )


def photo_files(folder: Path) -> list[Path]:
    """Photos in the folder and its subfolders, in order of path, without hidden files and folders."""
    return sorted(files_under(folder, PHOTO_SUFFIXES))


def is_hidden(name: str) -> bool:
    """Whether a name is hidden, such as a Mac's `._photo.jpg`, or is the folder of such files in a zip."""
    return name.startswith(".") or name == _MAC_FOLDER


def split_of(path: Path) -> str | None:
    """train, val or test, by the names of the folders of a photo's relative path."""
    folders = (part.lower() for part in reversed(path.parts[:-1]))
    return next((_SPLIT_FOLDERS[part] for part in folders if part in _SPLIT_FOLDERS), None)
