"""Data sets that come packed in one file."""

from __future__ import annotations

import tarfile
from pathlib import Path

from savo_datasets.errors import DatasetError

__all__ = ["unpack"]


def unpack(archive: Path, folder: Path) -> Path:
    """A tar, however it is compressed; nothing is written outside `folder`. Raises `DatasetError`."""
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise DatasetError(f"{archive} is no readable tar: {error}") from error
    return folder
