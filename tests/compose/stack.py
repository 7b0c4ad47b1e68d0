"""docker-compose.yml as a project of the test's own: own name, own ports, own secrets, own volumes."""

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
BUILD_WITHIN = 1800
START_WITHIN = 300


def why_no_stack() -> str | None:
    """None where the project can be built and started, else the reason."""
    if reason := why_no_compose():
        return reason
    python = re.search(r"^ARG PYTHON=(\S+)", (ROOT / "deploy/docker/Dockerfile").read_text(), re.MULTILINE)
    assert python
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    needed = {
        service["image"]
        for service in services
        if not service["image"].startswith("savo-") and "profiles" not in service
    }
    return next(
        (reason for image in sorted({f"python:{python[1]}", *needed}) if (reason := why_no_container(image))), None
    )


@dataclass(frozen=True)
class Stack:
    """`docker compose` for one project. Commands raise `AssertionError` with what was said."""

    project: str
    env_file: Path

    @classmethod
    def new(cls, folder: Path) -> Stack:
        env_file = folder / "env"
        subprocess.run([str(ROOT / "deploy/docker/new-env"), str(env_file)], check=True, capture_output=True)
        with env_file.open("a") as more:
            more.writelines(f"{name}={free_port()}\n" for name in PORTS)
        return cls(f"savo-test-{secrets.token_hex(3)}", env_file)

    def variable(self, name: str) -> str:
        found = re.findall(rf"^{name}=(.*)$", self.env_file.read_text(), re.MULTILINE)
        return str(found[-1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.variable('GATEWAY_PORT')}"

    @property
    def environment(self) -> dict[str, str]:
        """That of this process without settings of its own, which compose would hand on; plain `docker compose` and `savo` find the project by it."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SAVO_", "R2_", "COMPOSE_"))}
        found = {
            "COMPOSE_FILE": str(ROOT / "docker-compose.yml"),
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_ENV_FILES": str(self.env_file),
        }
        return clean | found | {"SAVO_URL": self.url}

    def compose(self, *words: str, within: float = 120.0, check: bool = True) -> str:
        done = self._compose(*words, within=within)
        assert done.returncode == 0 or not check, (
            f"docker compose {' '.join(words)} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        )
        return done.stdout

    def exec(self, service: str, *words: str, index: int = 1) -> subprocess.CompletedProcess[str]:
        """In a running container; its outcome."""
        return self._compose("exec", "-T", "--index", str(index), service, *words, within=60)

    def exec_once(self, service: str, *words: str) -> subprocess.CompletedProcess[str]:
        """In a container of its own; its outcome."""
        return self._compose("run", "--rm", "-T", service, *words, within=120)

    def stop_once(self, service: str) -> None:
        """What `docker compose run` started; ending that command alone leaves its container."""
        labels = {"project": self.project, "service": service, "oneoff": "True"}
        those = [
            word for name, value in labels.items() for word in ("--filter", f"label=com.docker.compose.{name}={value}")
        ]
        found = subprocess.run(
            ["docker", "ps", "--quiet", *those], capture_output=True, text=True, timeout=30, check=True
        ).stdout.split()
        assert found, f"no container of {service} runs beside those that stay"
        subprocess.run(["docker", "stop", *found], capture_output=True, timeout=60, check=True)

    def up(self, *words: str) -> float:
        """Until all is healthy; the seconds it took."""
        began = time.monotonic()
        try:
            self.compose("up", "--wait", "--wait-timeout", str(START_WITHIN), *words, within=START_WITHIN + 60)
        except AssertionError as flaw:
            raise AssertionError(
                f"{flaw}\n{self.compose('ps', '--all')}\n{self.compose('logs', '--tail', '15', '--no-color')}"
            ) from None
        return time.monotonic() - began

    def savo(self, *words: str, key: str | None = None) -> subprocess.CompletedProcess[str]:
        """The command of this machine, beside the containers."""
        environment = self.environment | ({"SAVO_API_KEY": key} if key else {})
        return subprocess.run(
            [sys.executable, "-m", "savo_cli", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def state(self, service: str, index: int = 1) -> dict[str, Any]:
        """What `docker inspect` says of one container."""
        names = self.compose("ps", "--all", "--format", "{{.Name}}", service).split()
        name = next(name for name in names if name.endswith(f"-{index}"))
        done = subprocess.run(["docker", "inspect", name], capture_output=True, text=True, timeout=30, check=True)
        facts: dict[str, Any] = json.loads(done.stdout)[0]
        return facts

    def down(self) -> None:
        self.compose(
            "--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5", within=180, check=False
        )

    def _compose(self, *words: str, within: float) -> subprocess.CompletedProcess[str]:
        command = ["docker", "compose", "--progress", "quiet", *words]
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


def eventually(holds: Callable[[], bool], within: float = 120.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not so within {within:g} s"
        time.sleep(0.5)
