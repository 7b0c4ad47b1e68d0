"""Atomic writing of a folder: it appears complete or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from savo_datasets.errors import DatasetError

__all__ = ["new_folder", "require_empty"]


def require_empty(output: Path) -> None:
    """Raises `DatasetError` for a folder that is not empty: existing files are never overwritten."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DatasetError(f"{output} is not empty: give another --output, or remove it first")


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Yields a folder beside `output` that becomes `output` at the end.

    On an error, such as a full disk, it is removed, so that the next try finds what this one found. Raises
    `DatasetError` when `output` is not empty.
    """
    require_empty(output)
    parent = output.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    building = parent / f".{output.name}.writing-{secrets.token_hex(4)}"
    building.mkdir()
    try:
        yield building
        _move(building, output)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _move(building: Path, output: Path) -> None:
    try:
        building.replace(output)
    except OSError:
        # A mounted folder cannot be replaced. Its parts are moved, the description last.
        if not output.is_dir():
            raise
        for part in sorted(building.iterdir(), key=lambda path: (path.suffix == ".yaml", path.name)):
            shutil.move(part, output / part.name)
