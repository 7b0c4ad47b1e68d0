"""Containers for tests, where Docker runs and the image is here or can be had."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from typing import Any

__all__ = ["container", "why_no_compose", "why_no_container", "why_no_docker"]

PULL_WITHIN = 180.0


@cache
def why_no_docker() -> str | None:
    """None where containers can be started, else the reason in words."""
    if shutil.which("docker") is None:
        return "Docker is not installed"
    return "Docker does not run" if _fault(["info"], within=10) else None


@cache
def why_no_compose() -> str | None:
    """None where `docker compose` can be asked, with or without a running Docker."""
    if shutil.which("docker") is None:
        return "Docker is not installed"
    return "Docker has no compose plug-in" if _fault(["compose", "version"], within=20) else None


@cache
def why_no_container(image: str) -> str | None:
    """None where a container of this image can be started, else the reason. An image that is not here is pulled, for three minutes at most."""
    if reason := why_no_docker():
        return reason
    if not _fault(["image", "inspect", image], within=10):
        return None
    fault = _fault(["pull", "--quiet", image], within=PULL_WITHIN)
    return f"Docker runs, but the image {image} is not here and cannot be pulled: {fault}" if fault else None


def container(image: str) -> Any:
    """A testcontainers' container of that image, not started yet."""
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    if why_no_container(testcontainers_config.ryuk_image):
        # The reaper removes containers whose test run was killed. It is an image of its own: where that cannot be had, the rest
        # works without, and the fixtures remove what they started.
        testcontainers_config.ryuk_disabled = True
    return DockerContainer(image)


def _fault(arguments: list[str], *, within: float) -> str | None:
    """None when docker did it, else its last words."""
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=within, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {within:g} s"
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
