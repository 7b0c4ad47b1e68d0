"""What every test of the repository has: the parts under tests/parts, as plug-ins."""

from __future__ import annotations

from pathlib import Path

_PARTS = Path(__file__).parent / "tests" / "parts"
_FIRST = ["addresses", "table", "containers", "wheel"]  # the others import these, and pytest wants to be the first to import a plug-in

pytest_plugins = [f"tests.parts.{name}" for name in [*_FIRST, *sorted({path.stem for path in _PARTS.glob("[!_]*.py")} - set(_FIRST))]]
