"""Locked versions: uv.lock has one version of each package, so every Python runs the tested versions."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def packages_with_several_versions(lock: Mapping[str, Any]) -> list[str]:
    names = Counter(package["name"] for package in lock["package"])
    return sorted(name for name, count in names.items() if count > 1)


def test_the_lock_file_has_one_version_of_each_package() -> None:
    assert packages_with_several_versions(tomllib.loads((ROOT / "uv.lock").read_text())) == []


def test_a_second_version_of_a_package_is_found() -> None:
    planted = {
        "package": [
            {"name": "numpy", "version": "2.4.6"},
            {"name": "scipy", "version": "1.17.1"},
            {"name": "numpy", "version": "2.5.5"},
        ]
    }
    assert packages_with_several_versions(planted) == ["numpy"]
