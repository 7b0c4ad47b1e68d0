"""Folder of real photos for tests, in YOLO form: images/, labels/, data.yaml."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.parts.parts_table import record

_DEFAULT = Path(__file__).parents[2] / ".." / "shared" / "data" / "epicureai12"


@pytest.fixture(scope="session")
def real_photos() -> Path:
    """The read-only folder of real photos. Skips the test where it does not exist."""
    folder = Path(os.environ.get("SAVO_TEST_PHOTOS") or _DEFAULT).resolve()
    images = folder / "images"
    if not images.is_dir():
        reason = "no folder of real photos; set SAVO_TEST_PHOTOS to one"
        record("real photos", "skipped", reason)
        pytest.skip(reason)
    record("real photos", "real", f"{sum(1 for path in images.rglob('*') if path.is_file())} in {folder.name}")
    return folder
