"""uv.lock holds one version of each package, so that what one Python runs is what every other Python was tested with."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def locked_more_than_once(lock: Mapping[str, Any]) -> list[str]:
    names = Counter(package["name"] for package in lock["package"])
    return sorted(name for name, count in names.items() if count > 1)


def test_the_lock_file_holds_one_version_of_each_package() -> None:
    assert locked_more_than_once(tomllib.loads((ROOT / "uv.lock").read_text())) == []


def test_a_second_version_of_a_package_is_found() -> None:
    planted = {
        "package": [
            {"name": "numpy", "version": "2.4.6"},
            {"name": "scipy", "version": "1.17.1"},
            {"name": "numpy", "version": "2.5.5"},
        ]
    }
    assert locked_more_than_once(planted) == ["numpy"]
