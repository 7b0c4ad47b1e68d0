"""A folder of the product holds a dozen modules or so; what grows past that gets sub-packages by feature."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LARGE = {"savo_detection", "savo_gateway", "savo_trainer", "savo_cli", "savo_demo"}
IN_LARGE, ELSEWHERE = 14, 18
NOT_COUNTED = {"__init__.py", "__main__.py"}
LEFT_OUT = {"tests", "migrations"}


def folders() -> Iterator[Path]:
    """Of every package of the product, with its sub-packages."""
    for package in ROOT.glob("*/savo_*"), ROOT.glob("*/*/savo_*"):
        for root in package:
            yield from (path for path in [root, *root.rglob("*")] if path.is_dir() and not LEFT_OUT & set(path.parts))


def limit(folder: Path) -> int:
    parts = folder.relative_to(ROOT).parts
    return IN_LARGE if LARGE & set(parts) or {"savo_runtime", "messaging"} <= set(parts) else ELSEWHERE


def modules(folder: Path) -> int:
    return len({path.name for path in folder.glob("*.py")} - NOT_COUNTED)


def test_folders_hold_few_modules() -> None:
    crowded = {
        str(folder.relative_to(ROOT)): modules(folder) for folder in folders() if modules(folder) > limit(folder)
    }
    assert crowded == {}
