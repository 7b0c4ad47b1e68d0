"""Prometheus for tests: a real server on a free port, in a temporary folder, and promtool."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.parts.addresses import free_port, wait_for_port
from tests.parts.parts_table import record

Sample = tuple[dict[str, str], float]


@dataclass(frozen=True)
class Prometheus:
    url: str

    def query(self, expression: str) -> list[Sample]:
        """Result of an instant query, a vector or a scalar. Fails with Prometheus' own message."""
        answer = httpx2.get(
            f"{self.url}/api/v1/query", params={"query": expression}, trust_env=False, timeout=60
        ).json()
        assert answer["status"] == "success", f"{expression}\n{answer.get('error')}"
        data = answer["data"]
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(sample["metric"], float(sample["value"][1])) for sample in data["result"]]

    def label_values(self, metric: str, label: str) -> list[str]:
        answer = httpx2.get(
            f"{self.url}/api/v1/label/{label}/values", params={"match[]": metric}, trust_env=False, timeout=60
        ).json()
        return [str(value) for value in answer["data"]]

    def targets(self) -> list[dict[str, Any]]:
        answer = httpx2.get(f"{self.url}/api/v1/targets", trust_env=False, timeout=60).json()
        active: list[dict[str, Any]] = answer["data"]["activeTargets"]
        return active

    def firing(self) -> set[str]:
        """Names of the alerts that are firing."""
        alerts = httpx2.get(f"{self.url}/api/v1/alerts", trust_env=False, timeout=60).json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def promtool(*arguments: str) -> None:
    """Run promtool; fails with its output. Skips the test where it is not installed."""
    program = shutil.which("promtool")
    if program is None:
        record("Prometheus", "skipped", "promtool is not installed")
        pytest.skip("promtool is not installed")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    record("Prometheus", "real", "promtool")
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def running_prometheus(config: str, folder: Path, files: Mapping[str, str] | None = None) -> Iterator[Prometheus]:
    """A server with this configuration. `files` by name are written beside it, into `folder`."""
    program = shutil.which("prometheus")
    if program is None:
        record("Prometheus", "skipped", "prometheus is not installed")
        pytest.skip("prometheus is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {**(files or {}), "prometheus.yml": config}.items():
        (folder / name).write_text(text, encoding="utf-8")
    port = free_port()
    arguments = [
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *arguments, "--log.level", "warn"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        wait_for_port(port, process)
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        _wait_until_ready(prometheus)
        record("Prometheus", "real", "a server that scraped a real run")
        yield prometheus
    finally:
        process.terminate()
        process.wait(90)


def _wait_until_ready(prometheus: Prometheus) -> None:
    deadline = time.monotonic() + 30
    while httpx2.get(f"{prometheus.url}/-/ready", trust_env=False).status_code != 200:
        assert time.monotonic() < deadline, "Prometheus is not ready after 30 s"
        time.sleep(0.1)
