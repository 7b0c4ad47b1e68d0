"""Docker containers for tests, where Docker runs and the image is available or can be pulled."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from typing import Any

__all__ = ["container", "why_no_compose", "why_no_container", "why_no_docker"]

PULL_WITHIN = 180.0


@cache
def why_no_docker() -> str | None:
    """None where containers can be started, else the reason."""
    if shutil.which("docker") is None:
        return "Docker is not installed"
    return "Docker does not run" if _docker_error(["info"], within=10) else None


@cache
def why_no_compose() -> str | None:
    """None where `docker compose` is installed, even without a running Docker, else the reason."""
    if shutil.which("docker") is None:
        return "Docker is not installed"
    return "Docker has no compose plug-in" if _docker_error(["compose", "version"], within=20) else None


@cache
def why_no_container(image: str) -> str | None:
    """None where a container of this image can be started, else the reason.

    A missing image is pulled, for at most three minutes.
    """
    if reason := why_no_docker():
        return reason
    if not _docker_error(["image", "inspect", image], within=10):
        return None
    error = _docker_error(["pull", "--quiet", image], within=PULL_WITHIN)
    return f"Docker runs, but the image {image} is not here and cannot be pulled: {error}" if error else None


def container(image: str) -> Any:
    """A container of testcontainers, not started yet."""
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    if why_no_container(testcontainers_config.ryuk_image):
        # The reaper removes containers of a killed test run. Where its image is not available, the fixtures remove
        # their containers themselves.
        testcontainers_config.ryuk_disabled = True
    return DockerContainer(image)


def _docker_error(arguments: list[str], *, within: float) -> str | None:
    """None when the docker command succeeded, else its last line on stderr."""
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=within, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {within:g} s"
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
