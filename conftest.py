"""Pytest plug-ins for all tests of the repository: the shared fixtures of tests/parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from PIL import Image

_PARTS = Path(__file__).parent / "tests" / "parts"
# Loaded first, because the other parts import these and pytest must import a plug-in before other code does.
_FIRST = ["addresses", "parts_table", "containers", "server_folders", "wheel"]

pytest_plugins = [
    f"tests.parts.{name}" for name in [*_FIRST, *sorted({path.stem for path in _PARTS.glob("[!_]*.py")} - set(_FIRST))]
]

# The time of an example depends on the machine's load, so property tests have no deadline.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")

_PILLOW_OPEN = Image.open


@pytest.fixture(autouse=True)
def _original_image_open() -> Iterator[None]:
    """Restores `Image.open`, which `import ultralytics` in another test replaces with one that installs packages."""
    Image.open = _PILLOW_OPEN
    yield
    Image.open = _PILLOW_OPEN
