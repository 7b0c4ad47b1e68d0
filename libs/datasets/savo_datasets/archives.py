"""Unpacking of data sets from tar archives."""

from __future__ import annotations

import tarfile
from pathlib import Path

from savo_datasets.errors import DatasetError

__all__ = ["unpack"]


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a tar archive of any compression into `folder`, and return the folder.

    Nothing is written outside `folder`. Raises `DatasetError` for a file that is not a readable tar archive.
    """
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise DatasetError(f"{archive} cannot be unpacked as a tar archive: {error}") from error
    return folder
