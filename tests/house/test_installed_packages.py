"""What an image must not hold, by the lock file: a package without a use costs size, start-up and security updates."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

LOCK = tomllib.loads((Path(__file__).parents[2] / "uv.lock").read_text(encoding="utf-8"))
PACKAGES: dict[str, dict[str, Any]] = {package["name"]: package for package in LOCK["package"]}


def installed_with(package: str) -> set[str]:
    """All that the package asks for, on any platform, its own extras left out."""
    found: set[tuple[str, str]] = set()
    open_ends = [(package, "")]
    while open_ends:
        name, extra = open_ends.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        asked = (
            PACKAGES[name].get("optional-dependencies", {}).get(extra, [])
            if extra
            else PACKAGES[name].get("dependencies", [])
        )
        open_ends += [(need["name"], wanted) for need in asked for wanted in ("", *need.get("extra", ()))]
    return {name for name, _ in found}


def test_the_lock_is_read_with_extras() -> None:
    assert {"savo-detection", "onnxruntime", "numpy"} <= installed_with("savo-vision")
    assert {"onnx", "protobuf"} <= installed_with("savo-trainer")


@pytest.mark.parametrize("service", ["savo-vision", "savo-gateway", "savo-collector", "savo-rollout", "savo-reasoning"])
def test_only_what_optimises_models_installs_onnx(service: str) -> None:
    assert not {"onnx", "ml-dtypes"} & installed_with(service)


@pytest.mark.parametrize("service", ["savo-vision", "savo-trainer", "savo-cli"])
def test_torch_comes_with_the_extra_alone(service: str) -> None:
    assert not {"torch", "ultralytics"} & installed_with(service)
