"""What every test of the repository has: the parts under tests/parts, as plug-ins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

_PARTS = Path(__file__).parent / "tests" / "parts"
_FIRST = [
    "addresses",
    "parts_table",
    "containers",
    "wheel",
]  # the others import these, and pytest wants to be the first to import a plug-in

pytest_plugins = [
    f"tests.parts.{name}" for name in [*_FIRST, *sorted({path.stem for path in _PARTS.glob("[!_]*.py")} - set(_FIRST))]
]

_PILLOW_OPEN = Image.open


@pytest.fixture(autouse=True)
def _pillow_opens_photos_itself() -> Iterator[None]:
    """`import ultralytics` replaces `Image.open` by one that installs packages; a test's process is shared with others."""
    Image.open = _PILLOW_OPEN
    yield
    Image.open = _PILLOW_OPEN
