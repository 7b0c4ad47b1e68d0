"""The running product for tests: `savo up` in a temporary folder, usually with the stand-in for Google."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.parts.addresses import free_port

START_WITHIN = 400.0
MAKE_UP = {"SAVO_COLLECT_TRAINING_DATA": "true", "SAVO_USE_CUSTOM_VISION": "true"}
"""What `make up` sets."""
STOP_WITHIN = 120.0


@dataclass(frozen=True)
class Wheel:
    """A running `savo up`."""

    data_dir: Path
    url: str
    process: subprocess.Popen[bytes]

    def pid_of(self, service: str) -> int | None:
        """Process id of the service; None while it restarts."""
        try:
            pid = int(json.loads((self.data_dir / "run" / f"{service}.json").read_text())["pid"])
            os.kill(pid, 0)
        except (FileNotFoundError, ProcessLookupError):
            return None
        return pid

    def kill(self, service: str) -> bool:
        """Send SIGKILL to the service; False while it restarts."""
        pid = self.pid_of(service)
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    def last_lines(self, service: str, count: int = 12) -> str:
        log = self.data_dir / "logs" / f"{service}.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-count:]) if log.exists() else "(no log)"


@contextmanager
def running_wheel(
    data_dir: Path, truth: Path | None, settings: Mapping[str, str], *arguments: str, latency_scale: float = 0.1
) -> Iterator[Wheel]:
    """`savo up` with the settings of `make up`, when it is ready. At the end, SIGTERM must stop it with exit code 0.

    `truth`: folder with the answers of the stand-in; None: no stand-in.
    """
    port = free_port()
    command = [sys.executable, "-m", "savo_cli", "up", "--port", str(port), "--data-dir", str(data_dir)]
    command += arguments
    if truth is not None:
        command += ["--standin", str(truth), f"--standin-option=--latency-scale={latency_scale}"]
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("SAVO_", "R2_")) and name != "PORT"
    }
    log = data_dir.parent / f"{data_dir.name}.up.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            env=clean | MAKE_UP | dict(settings),
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        _wait_until_up(process, data_dir, log)
        yield Wheel(data_dir, f"http://127.0.0.1:{port}", process)
        process.terminate()
        assert process.wait(STOP_WITHIN) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_up(process: subprocess.Popen[bytes], data_dir: Path, log: Path) -> None:
    deadline = time.monotonic() + START_WITHIN
    while not (data_dir / "run" / "up.json").exists():
        assert process.poll() is None, f"savo up ended with {process.returncode}:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"savo up was not ready in {START_WITHIN:g} s:\n{log.read_text()}"
        time.sleep(0.1)


def objects_under(data_dir: Path, prefix: str) -> list[Path]:
    """Files of the objects in the folder store whose keys start with the prefix."""
    return sorted(path for path in (data_dir / "objects" / prefix).rglob("*") if path.is_file())


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
