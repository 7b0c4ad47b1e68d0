"""What `savo up` starts: the services of each process, their environment and their addresses."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from savo_contracts.topics import SERVICES
from savo_providers.catalogue import PROVIDERS
from savo_runtime.errors import FatalError

__all__ = ["HOST", "STANDIN_PROVIDERS", "Plan", "UpOptions", "free_port", "make_plan"]

HOST = "127.0.0.1"
LOOPBACK = (HOST, "localhost", "::1")

# A host for one process has no memory for a training run: the trainer runs on another machine with the same Kafka.
NOT_IN_ONE_PROCESS = ("trainer",)

STANDIN_PROVIDERS = tuple(provider for provider in PROVIDERS if provider.standin_path is not None)
"""Providers that the stand-in answers for."""

# glibc keeps freed memory per thread, and many threads handle photos. With these settings it returns the memory: the
# peak with 12-megapixel photos fell from 614 to 490 MB. ONNX Runtime is the engine that needs the least memory.
SMALL_MEMORY_SETTINGS = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "SAVO_DETECTION_ENGINE": "onnxruntime",
}


@dataclass(frozen=True)
class UpOptions:
    """The options of `savo up`."""

    port: int
    data_dir: Path
    kafka: str | None = None
    standin: Path | None = None
    standin_options: tuple[str, ...] = ()
    one_process: bool = False
    logs: bool = False


@dataclass
class Plan:
    """The processes to start, with their environment and addresses."""

    options: UpOptions
    environment: dict[str, str]
    rollout_port: int
    notes: list[str] = field(default_factory=list)

    @property
    def gateway_url(self) -> str:
        return f"http://{HOST}:{self.options.port}"

    @property
    def run_dir(self) -> Path:
        return self.options.data_dir.resolve() / "run"

    @property
    def logs_dir(self) -> Path:
        return self.options.data_dir.resolve() / "logs"

    def log(self, name: str) -> Path:
        """The log file of a process."""
        return self.logs_dir / f"{name}.log"

    def groups(self) -> Iterator[tuple[str, ...]]:
        """The services of each process. The gateway (known port) is first, rollout, which it calls, is next."""
        if self.options.one_process:
            yield ("gateway", "rollout", *(name for name in self.services if name not in ("gateway", "rollout")))
        else:
            yield from ((name,) for name in self.services)

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(name for name in SERVICES if not (self.options.one_process and name in NOT_IN_ONE_PROCESS))


def make_plan(options: UpOptions) -> Plan:
    """Raises `FatalError` when the port is in use or the stand-in's folder is missing."""
    _require_free(options.port)
    environment = dict(os.environ)
    environment["SAVO_DATA_DIR"] = str(options.data_dir.resolve())
    plan = Plan(options, environment, free_port())
    for name in ("SAVO_COLLECT_TRAINING_DATA", "SAVO_USE_CUSTOM_VISION"):
        if name not in environment:
            environment[name] = "true"
            plan.notes.append(f"{name}=true")
    if options.standin is not None:
        if not options.standin.is_dir():
            command = f"savo synthesize --count 60 --output {options.standin}"
            raise FatalError(f"--standin {options.standin}: no such folder; create one with `{command}`")
        environment |= {provider.key_variable: "stand-in" for provider in STANDIN_PROVIDERS}
    host, auth = environment.get("SAVO_HTTP_HOST", HOST), environment.get("SAVO_AUTH")
    if auth == "api_key" or (auth is None and host not in LOOPBACK):
        plan.notes.append("every call needs an API key: savo keys create NAME --scope scans")
    environment["SAVO_ROLLOUT_URL"] = f"http://{HOST}:{plan.rollout_port}"
    if options.one_process:
        plan.environment = (
            SMALL_MEMORY_SETTINGS | {"SAVO_OPTIONAL_SERVICES": ",".join(NOT_IN_ONE_PROCESS)} | environment
        )
        plan.notes.append("no trainer: run `python -m savo_runtime trainer` on a machine with more memory")
    return plan


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise FatalError(
                f"port {port} is in use; end the process that uses it, or choose another with --port"
            ) from error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
