"""Atomic writing of a folder: it appears complete or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from savo_datasets.errors import DatasetError

__all__ = ["errors_named", "new_folder", "require_empty", "require_folder"]


def require_empty(output: Path) -> None:
    """Raises `DatasetError` for a file, and for a folder that is not empty: existing files are never overwritten."""
    require_folder(output)
    if output.exists() and any(output.iterdir()):
        raise DatasetError(f"{output} is not empty: give another folder, or remove it first")


def require_folder(output: Path) -> None:
    """Raises `DatasetError` where a file has the name of the folder that shall be written."""
    if output.exists() and not output.is_dir():
        raise DatasetError(f"{output} is a file: give a folder")


@contextmanager
def errors_named(output: Path) -> Iterator[None]:
    """Errors of the system name `output` instead of the hidden folder `.NAME.…` beside it, in which it is built."""
    try:
        yield
    except OSError as error:
        error.filename = _shown(error.filename, output)
        raise


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Yields a folder beside `output` that becomes `output` at the end.

    On an error, such as a full disk, it is removed, so that the next try finds what this one found. Raises
    `DatasetError` when `output` is not empty.
    """
    require_empty(output)
    parent = output.absolute().parent
    building = parent / f".{output.name}.writing-{secrets.token_hex(4)}"
    with errors_named(output):
        parent.mkdir(parents=True, exist_ok=True)
        building.mkdir()
        try:
            yield building
            _move(building, output)
        finally:
            shutil.rmtree(building, ignore_errors=True)


def _shown(path: object, output: Path) -> object:
    """A path of an error, under `output` where it is under a hidden folder of its name."""
    parent = output.absolute().parent
    if not isinstance(path, str | Path) or parent not in (absolute := Path(path).absolute()).parents:
        return path
    first, *others = absolute.relative_to(parent).parts
    return str(output.joinpath(*others)) if first.startswith(f".{output.name}.") else path


def _move(building: Path, output: Path) -> None:
    try:
        building.replace(output)
    except OSError:
        # A mounted folder cannot be replaced. Its parts are moved, the description last.
        if not output.is_dir():
            raise
        for part in sorted(building.iterdir(), key=lambda path: (path.suffix == ".yaml", path.name)):
            shutil.move(part, output / part.name)
