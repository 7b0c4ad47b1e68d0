"""README of the package: its table of modules is complete."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "savo_detection"


def test_the_readme_lists_every_module_and_folder() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    folders = {name.rstrip("/") for name in named if name.endswith("/")}
    modules = [path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py") if path.stem != "__init__"]
    outside_folders = {str(module) for module in modules if not folders & {str(parent) for parent in module.parents}}
    assert named - {folder + "/" for folder in folders} == outside_folders
    assert all((PACKAGE / folder / "__init__.py").exists() for folder in folders)
