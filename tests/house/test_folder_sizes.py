"""Folder sizes: a folder of the product has few modules; larger ones get sub-packages by feature."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LARGE_PACKAGES = {"savo_detection", "savo_gateway", "savo_trainer", "savo_cli", "savo_demo"}
LARGE_PACKAGE_LIMIT, DEFAULT_LIMIT = 14, 18
IGNORED_MODULES = {"__init__.py", "__main__.py"}
IGNORED_FOLDERS = {"tests", "migrations"}


def folders() -> Iterator[Path]:
    """Folders of every package of the product and of its sub-packages."""
    for package in ROOT.glob("*/savo_*"), ROOT.glob("*/*/savo_*"):
        for root in package:
            yield from (
                path for path in [root, *root.rglob("*")] if path.is_dir() and not IGNORED_FOLDERS & set(path.parts)
            )


def limit(folder: Path) -> int:
    parts = folder.relative_to(ROOT).parts
    return (
        LARGE_PACKAGE_LIMIT
        if LARGE_PACKAGES & set(parts) or {"savo_runtime", "messaging"} <= set(parts)
        else DEFAULT_LIMIT
    )


def modules(folder: Path) -> int:
    return len({path.name for path in folder.glob("*.py")} - IGNORED_MODULES)


def test_folders_have_few_modules() -> None:
    too_large = {
        str(folder.relative_to(ROOT)): modules(folder) for folder in folders() if modules(folder) > limit(folder)
    }
    assert too_large == {}
