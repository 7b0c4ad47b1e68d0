"""Installed packages: services do not install large packages that they do not use, by the lock file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

LOCK = tomllib.loads((Path(__file__).parents[2] / "uv.lock").read_text(encoding="utf-8"))
PACKAGES: dict[str, dict[str, Any]] = {package["name"]: package for package in LOCK["package"]}


def installed_with(package: str) -> set[str]:
    """All dependencies of a package on any platform, without its own extras."""
    found: set[tuple[str, str]] = set()
    pending = [(package, "")]
    while pending:
        name, extra = pending.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        dependencies = (
            PACKAGES[name].get("optional-dependencies", {}).get(extra, [])
            if extra
            else PACKAGES[name].get("dependencies", [])
        )
        pending += [
            (dependency["name"], extra) for dependency in dependencies for extra in ("", *dependency.get("extra", ()))
        ]
    return {name for name, _ in found}


def test_extras_of_dependencies_are_included() -> None:
    assert {"savo-detection", "onnxruntime", "numpy"} <= installed_with("savo-vision")
    assert {"onnx", "protobuf"} <= installed_with("savo-trainer")


@pytest.mark.parametrize("service", ["savo-vision", "savo-gateway", "savo-collector", "savo-rollout", "savo-reasoning"])
def test_services_that_do_not_optimise_models_do_not_install_onnx(service: str) -> None:
    assert not {"onnx", "ml-dtypes"} & installed_with(service)


@pytest.mark.parametrize("service", ["savo-vision", "savo-trainer", "savo-cli"])
def test_torch_is_only_installed_with_the_extra(service: str) -> None:
    assert not {"torch", "ultralytics"} & installed_with(service)
