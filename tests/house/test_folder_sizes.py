"""Folder sizes: a folder of the product has few modules; larger ones get sub-packages by feature."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LARGE_PACKAGES = {"savo_detection", "savo_gateway", "savo_trainer", "savo_cli", "savo_demo"}
LARGE_PACKAGE_LIMIT, DEFAULT_LIMIT = 14, 18
IGNORED_MODULES = {"__init__.py", "__main__.py"}
IGNORED_FOLDERS = {"tests", "migrations"}


def folders(repository: Path) -> Iterator[Path]:
    """Folders of every package of the product and of its sub-packages."""
    for package in repository.glob("*/savo_*"), repository.glob("*/*/savo_*"):
        for root in package:
            yield from (
                path for path in [root, *root.rglob("*")] if path.is_dir() and not IGNORED_FOLDERS & set(path.parts)
            )


def limit(folder: Path) -> int:
    parts = folder.parts
    return (
        LARGE_PACKAGE_LIMIT
        if LARGE_PACKAGES & set(parts) or {"savo_runtime", "messaging"} <= set(parts)
        else DEFAULT_LIMIT
    )


def modules(folder: Path) -> int:
    return len({path.name for path in folder.glob("*.py")} - IGNORED_MODULES)


def too_large(repository: Path) -> dict[str, int]:
    """Folder → number of its modules, for the folders above their limit."""
    return {
        str(folder.relative_to(repository)): modules(folder)
        for folder in folders(repository)
        if modules(folder) > limit(folder.relative_to(repository))
    }


def test_folders_have_few_modules() -> None:
    assert too_large(ROOT) == {}


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [
        ("services/vision/savo_vision", 18),
        ("libs/runtime/savo_runtime/storage", 18),
        ("libs/runtime/savo_runtime/messaging/consuming", 14),
        ("services/gateway/savo_gateway/http", 14),
        ("cli/savo_cli", 14),
    ],
)
def test_a_folder_with_one_module_too_many_is_found(tmp_path: Path, folder: str, allowed: int) -> None:
    planted = tmp_path / folder
    (planted / "migrations").mkdir(parents=True)
    for name in ["__init__", "__main__", *(f"module_{number}" for number in range(allowed))]:
        (planted / f"{name}.py").touch()
        (planted / "migrations" / f"{name}_again.py").touch()
    assert too_large(tmp_path) == {}
    (planted / "one_more.py").touch()
    assert too_large(tmp_path) == {folder: allowed + 1}
