"""The product of the demo: a `savo up` process, and an HTTP client for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from savo_contracts.documents import SampleMeta
from savo_demo.errors import ProductError
from savo_demo.plan import Plan

START_SECONDS = 300.0
STOP_SECONDS = 30.0
LAST_LINES = 15
REPORT_SECONDS = 60.0


@dataclass
class Product:
    """An embedded product on free ports with its own data folder."""

    plan: Plan
    url: str = ""
    services: dict[str, str] = field(default_factory=dict)
    client: httpx2.AsyncClient | None = None
    _process: asyncio.subprocess.Process | None = None

    async def start(self, environment: Mapping[str, str]) -> None:
        """Start `savo up` and wait until it is ready. Raises `ProductError`."""
        self._logs.mkdir(parents=True, exist_ok=True)
        with (self._logs / "savo-up.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command(),
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        await self._ready(self._process)
        started = json.loads(self._up_file.read_text(encoding="utf-8"))
        self.url, self.services = started["gateway_url"], started["services"]
        self._leave_a_core()
        self.client = httpx2.AsyncClient(base_url=self.url, timeout=20, trust_env=False)

    async def _ready(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                while not self._up_file.is_file():
                    if process.returncode is not None:
                        raise ProductError(f"`savo up` ended with exit code {process.returncode} before it was ready")
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise ProductError(f"stage start: `savo up` is not ready after {START_SECONDS:.0f} s") from None

    def _leave_a_core(self) -> None:
        """Bind the trainer to one core, so that scans have the other. Two cores train the small network no faster."""
        if hasattr(os, "sched_setaffinity"):
            pid = json.loads((self.plan.data_dir / "run" / "trainer.json").read_text(encoding="utf-8"))["pid"]
            os.sched_setaffinity(pid, {max(os.sched_getaffinity(0))})

    async def stop(self) -> None:
        """End `savo up`, which ends its services."""
        if self.client:
            await self.client.aclose()
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def exit_error(self) -> ProductError | None:
        """The error if `savo up` ended by itself, which explains later errors."""
        if self._process is None or self._process.returncode is None:
            return None
        return ProductError(f"`savo up` ended with exit code {self._process.returncode}")

    async def progress(self) -> dict[str, Any]:
        return await self._get("/training/progress")

    async def stats(self) -> dict[str, Any]:
        return await self._get("/training/stats")

    async def rollout(self) -> dict[str, Any]:
        """The rollout service's own report.

        While that service does not answer, the gateway sends its last known state, which has no figures of the arms.
        Raises `ProductError` when this lasts for `REPORT_SECONDS`.
        """
        try:
            async with asyncio.timeout(REPORT_SECONDS):
                while True:
                    report = await self._get("/admin/rollout")
                    if "arms" in report:
                        return report
                    await asyncio.sleep(0.5)
        except TimeoutError as late:
            raise ProductError(f"the rollout service did not answer for {REPORT_SECONDS:.0f} s", "rollout") from late

    async def runs(self) -> list[dict[str, Any]]:
        """Training runs of the trainer's GET /runs, oldest first."""
        answer = await self._get(f"{self.services['trainer']}/runs")
        return sorted(answer["runs"], key=lambda run: run["requested_at"])

    def samples_by_split(self) -> dict[str, int]:
        """Samples by split, counted in the object folder."""
        counts = Counter(
            SampleMeta.model_validate_json(path.read_bytes()).split.value
            for path in (self.plan.data_dir / "objects/samples/meta").rglob("*.json")
        )
        return {split: counts.get(split, 0) for split in ("train", "val", "test")}

    def last_lines(self, service: str) -> list[str]:
        """The end of a service's log, or of `savo up`'s if it has none."""
        path = self._logs / f"{service}.log"
        path = path if path.is_file() and path.stat().st_size else self._logs / "savo-up.log"
        with contextlib.suppress(OSError):
            return path.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        return []

    async def _get(self, path: str) -> dict[str, Any]:
        """A JSON object, with retries while the machine is busy. Raises `ProductError`."""
        assert self.client is not None
        problem = ""
        for attempt in range(4):
            try:
                answer = await self.client.get(path)
            except httpx2.HTTPError as error:
                problem = f"{type(error).__name__} {error}"
            else:
                if answer.status_code == httpx2.codes.OK:
                    body: dict[str, Any] = answer.json()
                    return body
                problem = f"{answer.status_code} {answer.text[:200]}"
            await asyncio.sleep(0.5 * (attempt + 1))
        raise ProductError(f"GET {path}: {problem}", "gateway" if path.startswith("/") else "trainer")

    def _command(self) -> tuple[str, ...]:
        address = ("--port", str(free_port()), "--data-dir", str(self.plan.data_dir))
        standin = ("--standin", str(self.plan.truth), f"--standin-option=--latency-scale={self.plan.latency_scale}")
        return (sys.executable, "-m", "savo_cli", "up", *address, *standin)

    @property
    def _logs(self) -> Path:
        return self.plan.data_dir / "logs"

    @property
    def _up_file(self) -> Path:
        return self.plan.data_dir / "run" / "up.json"


def free_port() -> int:
    """A free TCP port on 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
