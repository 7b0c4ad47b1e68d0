"""What `savo up` starts: the services of each process, their environment and their addresses."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from savo_cli.weekly.schedule import is_configured
from savo_contracts.topics import SERVICES
from savo_providers.catalogue import PROVIDERS
from savo_runtime.errors import FatalError

__all__ = ["HOST", "STANDIN_PROVIDERS", "Plan", "UpOptions", "free_port", "is_on", "make_plan"]

HOST = "127.0.0.1"
LOOPBACK = (HOST, "localhost", "::1")
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - what hosting platforms require

_ON = {"1", "true", "t", "yes", "y", "on"}

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
    def host(self) -> str:
        """The address that the gateway listens on.

        A hosting platform that sets PORT, or RENDER, routes to the machine's own address instead of the loopback one.
        """
        given = self.environment.get("SAVO_HTTP_HOST")
        is_hosted = bool(self.environment.get("PORT")) or is_on(self.environment, "RENDER")
        return given or (EVERY_ADDRESS if is_hosted else HOST)

    @property
    def auth(self) -> str:
        """The gateway's SAVO_AUTH: as set, or its default for the address."""
        return self.environment.get("SAVO_AUTH") or ("none" if self.host in LOOPBACK else "api_key")

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
    environment = dict(os.environ)
    environment["SAVO_DATA_DIR"] = str(options.data_dir.resolve())
    plan = Plan(options, environment, free_port())
    _require_free(plan.host, options.port)
    plan.notes += [_collection_note(environment), *_access_notes(plan)]
    if options.standin is not None:
        if not options.standin.is_dir():
            command = f"savo synthesize --count 60 --output {options.standin}"
            raise FatalError(f"--standin {options.standin}: no such folder; create one with `{command}`")
        environment |= {provider.key_variable: "stand-in" for provider in STANDIN_PROVIDERS}
    environment["SAVO_ROLLOUT_URL"] = f"http://{HOST}:{plan.rollout_port}"
    if options.one_process:
        plan.environment = (
            SMALL_MEMORY_SETTINGS | {"SAVO_OPTIONAL_SERVICES": ",".join(NOT_IN_ONE_PROCESS)} | environment
        )
        plan.notes.append("no trainer: run `python -m savo_runtime trainer` on a machine with more memory")
    if is_configured(environment):
        plan.notes.append(f"sends the weekly digest to {environment['SAVO_DIGEST_TO']} on Monday, 07:00 UTC")
    return plan


def _collection_note(environment: Mapping[str, str]) -> str:
    if is_on(environment, "SAVO_COLLECT_TRAINING_DATA"):
        return "SAVO_COLLECT_TRAINING_DATA=true"
    return "no samples are collected: SAVO_COLLECT_TRAINING_DATA is not true"


def _access_notes(plan: Plan) -> Iterator[str]:
    """Where the gateway listens if others can reach it, and who may call."""
    environment, is_public = plan.environment, plan.host not in LOOPBACK
    if is_public:
        reason = "SAVO_HTTP_HOST" if environment.get("SAVO_HTTP_HOST") else "this host sets PORT or RENDER"
        yield f"listens on {plan.host} ({reason})"
    if plan.auth == "api_key":
        yield "every call needs an API key: savo keys create NAME --scope scans"
    elif plan.auth == "jwt":
        yield "every call needs a token of the sign-in service, or an API key"
    elif is_public:
        yield "SAVO_AUTH=none: everyone who reaches this address may call"
    if plan.auth != "none":
        yield "/training/stats is open"
        is_open = is_on(environment, "SAVO_APP_ANONYMOUS")
        yield f"an app that sends no key is {'let in' if is_open else 'refused'} (SAVO_APP_ANONYMOUS)"


def is_on(environment: Mapping[str, str], name: str) -> bool:
    """Whether a variable is true, in any form that the settings accept."""
    return environment.get(name, "").strip().lower() in _ON


def _require_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise FatalError(f"SAVO_HTTP_HOST={host}: cannot listen on this address: {error.strerror}") from error
            raise FatalError(
                f"port {port} is in use; end the process that uses it, or choose another with --port"
            ) from error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
