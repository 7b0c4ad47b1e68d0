"""pytest plug-ins of every test: the modules in tests/parts."""

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
]  # the others import these, and pytest must import a plug-in before any other module does

pytest_plugins = [
    f"tests.parts.{name}" for name in [*_FIRST, *sorted({path.stem for path in _PARTS.glob("[!_]*.py")} - set(_FIRST))]
]

_PILLOW_OPEN = Image.open


@pytest.fixture(autouse=True)
def _pillow_opens_photos_itself() -> Iterator[None]:
    """Restore Pillow's `Image.open` for each test: `import ultralytics` replaces it by one that installs packages."""
    Image.open = _PILLOW_OPEN
    yield
    Image.open = _PILLOW_OPEN
