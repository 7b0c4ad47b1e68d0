"""Compose stack: docker-compose.yml as a separate project with its own name, ports, secrets and volumes."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.parts.addresses import free_port
from tests.parts.containers import why_no_compose, why_no_container

ROOT = Path(__file__).parents[2]
PORTS = ("GATEWAY_PORT", "KAFKA_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT")
BUILD_SECONDS = 1800
START_SECONDS = 300


def why_no_stack() -> str | None:
    """The reason why the project cannot be built and started; None when it can."""
    if reason := why_no_compose():
        return reason
    python = re.search(r"^ARG PYTHON=(\S+)", (ROOT / "deploy/docker/Dockerfile").read_text(), re.MULTILINE)
    assert python
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    images = {
        service["image"]
        for service in services
        if not service["image"].startswith("savo-") and "profiles" not in service
    }
    return next(
        (reason for image in sorted({f"python:{python[1]}", *images}) if (reason := why_no_container(image))), None
    )


@dataclass(frozen=True)
class Stack:
    """`docker compose` for one project. A failed command raises `AssertionError` with its output."""

    project: str
    env_file: Path

    @classmethod
    def new(cls, folder: Path) -> Stack:
        env_file = folder / "env"
        subprocess.run([str(ROOT / "deploy/docker/new-env"), str(env_file)], check=True, capture_output=True)
        with env_file.open("a") as file:
            file.writelines(f"{name}={free_port()}\n" for name in PORTS)
        return cls(f"savo-test-{secrets.token_hex(3)}", env_file)

    def variable(self, name: str) -> str:
        values = re.findall(rf"^{name}=(.*)$", self.env_file.read_text(), re.MULTILINE)
        return str(values[-1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.variable('GATEWAY_PORT')}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment for `docker compose` and `savo`: it selects the project and has no settings of this process."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SAVO_", "R2_", "COMPOSE_"))}
        project = {
            "COMPOSE_FILE": str(ROOT / "docker-compose.yml"),
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_ENV_FILES": str(self.env_file),
        }
        return clean | project | {"SAVO_URL": self.url}

    def compose(self, *arguments: str, within: float = 120.0, check: bool = True) -> str:
        done = self._compose(*arguments, within=within)
        assert done.returncode == 0 or not check, (
            f"docker compose {' '.join(arguments)} ended with {done.returncode}:\n"
            f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        )
        return done.stdout

    def exec(self, service: str, *command: str, index: int = 1) -> subprocess.CompletedProcess[str]:
        """Run a command in a running container."""
        return self._compose("exec", "-T", "--index", str(index), service, *command, within=60)

    def exec_once(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a new container."""
        return self._compose("run", "--rm", "-T", service, *command, within=120)

    def stop_once(self, service: str) -> None:
        """Stop containers of `docker compose run`, which would outlive a terminated command."""
        labels = {"project": self.project, "service": service, "oneoff": "True"}
        filters = [
            argument
            for name, value in labels.items()
            for argument in ("--filter", f"label=com.docker.compose.{name}={value}")
        ]
        found = subprocess.run(
            ["docker", "ps", "--quiet", *filters], capture_output=True, text=True, timeout=30, check=True
        ).stdout.split()
        assert found, f"no one-off container of {service} is running"
        subprocess.run(["docker", "stop", *found], capture_output=True, timeout=60, check=True)

    def up(self, *arguments: str) -> float:
        """Start until all services are healthy; returns the seconds."""
        began = time.monotonic()
        try:
            self.compose("up", "--wait", "--wait-timeout", str(START_SECONDS), *arguments, within=START_SECONDS + 60)
        except AssertionError as error:
            raise AssertionError(
                f"{error}\n{self.compose('ps', '--all')}\n{self.compose('logs', '--tail', '15', '--no-color')}"
            ) from None
        return time.monotonic() - began

    def savo(self, *arguments: str, key: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `savo` of this environment, outside the containers."""
        environment = self.environment | ({"SAVO_API_KEY": key} if key else {})
        return subprocess.run(
            [sys.executable, "-m", "savo_cli", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def state(self, service: str, index: int = 1) -> dict[str, Any]:
        """`docker inspect` of one container."""
        names = self.compose("ps", "--all", "--format", "{{.Name}}", service).split()
        name = next(name for name in names if name.endswith(f"-{index}"))
        done = subprocess.run(["docker", "inspect", name], capture_output=True, text=True, timeout=30, check=True)
        facts: dict[str, Any] = json.loads(done.stdout)[0]
        return facts

    def down(self) -> None:
        self.compose(
            "--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5", within=180, check=False
        )

    def _compose(self, *arguments: str, within: float) -> subprocess.CompletedProcess[str]:
        command = ["docker", "compose", "--progress", "quiet", *arguments]
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
            stdin=subprocess.DEVNULL,
        )


def eventually(condition: Callable[[], bool], within: float = 120.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"the condition was not met within {within:g} s"
        time.sleep(0.5)
