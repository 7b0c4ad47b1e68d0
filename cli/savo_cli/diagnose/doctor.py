"""`savo doctor`: checks of every setting, dependency and running service."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import httpx2
import typer
from aiokafka import AIOKafkaProducer
from rich.table import Table
from rich.text import Text

from savo_cli.diagnose.common_problems import diagnose
from savo_cli.diagnose.finding import Finding
from savo_cli.diagnose.service_addresses import RunningServices, find_services
from savo_cli.diagnose.service_figures import read_figures
from savo_cli.options import AsJson, Key, Url
from savo_cli.start.preflight import MODEL_PATH, wrong_model_path
from savo_cli.weekly.mail import MailServer
from savo_cli.weekly.settings import DigestSettings
from savo_providers.catalogue import GOOGLE, PROVIDERS
from savo_runtime.command_line.output import CommandError, print_json, table_console
from savo_runtime.database import Database
from savo_runtime.http.addresses import SERVICES_VARIABLE, WrongServicesError
from savo_runtime.messaging.kafka.client_arguments import connection_arguments
from savo_runtime.settings import RuntimeSettings, installed_settings, known_variables, load_settings, unknown_variables
from savo_runtime.storage.factory import open_store
from savo_runtime.telemetry.logs import configure_command_logs

__all__ = ["Finding", "doctor", "run_checks"]

_SECONDS = 8.0
_FREE_GB = 8.0
_MARKS = {"ok": "green", "note": "yellow", "wrong": "red"}


def doctor(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Check settings, dependencies and running services, and say what to fix. Exit 1 if something is wrong."""
    findings = list(run_checks(url, key))
    print_json([finding.as_json() for finding in findings]) if as_json else _print(findings)
    raise typer.Exit(int(any(finding.state == "wrong" for finding in findings)))


def run_checks(url: str | None = None, key: str | None = None) -> Iterator[Finding]:
    """Every check in turn. `url` and `key` are the gateway's."""
    yield _python()
    yield _disk()
    try:
        running = find_services(url)
    except WrongServicesError as error:
        running = RunningServices()
        yield Finding("services", "wrong", str(error), _CORRECT)
    yield from _shared_settings() if running.in_containers else _local_settings()
    yield from _digest_settings()
    yield from _unknown_variables()
    if settings := _loaded():
        yield from asyncio.run(_dependencies(settings))
    yield from _services(running)
    yield from diagnose(read_figures(running, key))


def _local_settings() -> Iterator[Finding]:
    """For services that this shell starts."""
    yield _training()
    yield from _settings()
    yield _provider()
    yield from _own_model()


def _shared_settings() -> Iterator[Finding]:
    """For services in containers: their own settings are unknown here, and a service with a wrong one is not ready."""
    problem = _refusal(RuntimeSettings)
    yield Finding(
        "settings",
        "wrong" if problem else "ok",
        problem or "shared settings are valid; each service checks its own at its start",
        _CORRECT,
    )


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", "ok" if sys.version_info >= (3, 11) else "wrong", version, "install Python 3.11 or later")


def _disk() -> Finding:
    free = shutil.disk_usage(".").free / 1e9
    return Finding(
        "disk",
        "ok" if free >= _FREE_GB else "note",
        f"{free:.1f} GB free",
        "" if free >= _FREE_GB else f"free some space: a training run needs {_FREE_GB:g} GB",
    )


def _training() -> Finding:
    if find_spec("ultralytics") and find_spec("torch"):
        return Finding("training", "ok", "torch and ultralytics are installed")
    return Finding(
        "training", "note", "torch or ultralytics is missing; everything but training works", "uv sync --extra yolo"
    )


def _settings() -> Iterator[Finding]:
    """Each service's settings, as it reads them at its start."""
    for service, cls in installed_settings().items():
        problem = _refusal(cls)
        # A missing provider key alone is no error, because the stand-in can replace the provider (see `_provider`).
        state: Literal["ok", "note", "wrong"] = "ok" if not problem else "note" if "--standin" in problem else "wrong"
        yield Finding(f"settings of {service}", state, problem or "valid", "" if state == "note" else _CORRECT)


_CORRECT = "correct this variable"


def _digest_settings() -> Iterator[Finding]:
    """Nothing if no setting of the digest is given."""
    own_variables = known_variables([DigestSettings]) - known_variables([RuntimeSettings])
    if not any(os.environ.get(name) for name in own_variables) or _refusal(RuntimeSettings):
        return
    problem = _refusal(DigestSettings)
    if not problem and (url := DigestSettings().smtp_url):
        try:
            MailServer.of(url.get_secret_value())
        except CommandError as error:
            problem = str(error)
    yield Finding("settings of savo digest", "wrong" if problem else "ok", problem or "valid", _CORRECT)


def _refusal(cls: type[RuntimeSettings]) -> str:
    """The message with which loading the settings ends the process; empty if they are valid."""
    output = io.StringIO()
    try:
        with redirect_stderr(output):
            load_settings(cls)
    except SystemExit:
        return output.getvalue().strip().removeprefix("savo: ")
    return ""


def _loaded() -> RuntimeSettings | None:
    return None if _refusal(RuntimeSettings) else load_settings(RuntimeSettings)


def _unknown_variables() -> Iterator[Finding]:
    ours = {"SAVO_URL", "SAVO_API_KEY", "SAVO_TEST_PHOTOS", SERVICES_VARIABLE}
    for variable in unknown_variables(os.environ, known_variables(installed_settings().values()) | ours):
        yield Finding("environment", "note", str(variable), "correct the name or unset the variable")


def _provider() -> Finding:
    provider = os.environ.get("SAVO_VISION_PROVIDER", GOOGLE.name)
    key = next((known.key_variable for known in PROVIDERS if known.name == provider), GOOGLE.key_variable)
    if os.environ.get(key):
        return Finding("vision provider", "ok", f"{provider}; {key} is set")
    return Finding(
        "vision provider",
        "note",
        f"{provider}, but {key} is not set",
        f"set {key}, or use the stand-in: savo up --standin DIR",
    )


def _own_model() -> Iterator[Finding]:
    """The model of SAVO_CUSTOM_VISION_MODEL_PATH, if it is set."""
    if not os.environ.get(MODEL_PATH):
        return
    wrong = wrong_model_path({"SAVO_USE_CUSTOM_VISION": "true", **os.environ})
    yield Finding(
        "own model",
        "wrong" if wrong else "ok",
        wrong or f"{MODEL_PATH}={os.environ[MODEL_PATH]}",
        "correct this variable, or unset it",
    )


async def _dependencies(settings: RuntimeSettings) -> list[Finding]:
    configure_command_logs(settings)
    store = open_store(settings)
    where = f"folder {settings.data_dir / 'objects'}" if settings.object_store == "folder" else settings.s3_endpoint
    findings = [
        await _checked("object store", where, store.check, "check the R2 and S3 settings, and whether the server runs")
    ]
    await store.close()
    if settings.database_url:
        database = Database.open(settings, "doctor")
        findings.append(
            await _checked(
                "database", "PostgreSQL", database.check, "check SAVO_DATABASE_URL, and whether the server runs"
            )
        )
        await database.close()
    else:
        findings.append(Finding("database", "ok", f"SQLite files in {settings.data_dir / 'db'}"))
    return [*findings, await _kafka(settings)]


async def _kafka(settings: RuntimeSettings) -> Finding:
    address = settings.kafka_bootstrap_servers
    if address == "embedded":
        return Finding("Kafka", "ok", "embedded: in memory inside `savo up`, for trying and testing")

    async def reach() -> None:
        producer = AIOKafkaProducer(**connection_arguments(settings))
        try:
            await producer.start()
        finally:
            await producer.stop()

    return await _checked(
        "Kafka",
        address,
        reach,
        "check SAVO_KAFKA_BOOTSTRAP_SERVERS and its SASL/TLS settings, and whether the broker runs",
    )


async def _checked(what: str, where: str, check: Callable[[], Awaitable[Any]], fix: str) -> Finding:
    try:
        await asyncio.wait_for(check(), _SECONDS)
    except TimeoutError:
        return Finding(what, "wrong", f"{where}: no answer in {_SECONDS:g} s", fix)
    except Exception as error:  # noqa: BLE001 — every error of a dependency is a finding
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Finding(what, "wrong", f"{where}: {problem}", fix)
    return Finding(what, "ok", where)


def _services(running: RunningServices) -> Iterator[Finding]:
    """Whether each known service is ready; with none known, whether the port of `savo up` is free."""
    if not running.services:
        yield _port(int(os.environ.get("PORT", "8000")))
    for service, url in running.services.items():
        yield _ready(service, url, running)
    if list(running.services) == ["gateway"]:
        yield Finding(
            "services",
            "note",
            "the other services were not checked: their addresses are unknown",
            f"set {SERVICES_VARIABLE}=vision=http://HOST:PORT,…",
        )


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return Finding("port", "note", f"{port} is in use", "end the process that uses it, or: savo up --port N")
    return Finding("port", "ok", f"{port} is free; `savo up` is not running here")


def _ready(service: str, url: str, running: RunningServices) -> Finding:
    fix = f"start it, or read its log: {_log_of(service, running)}"
    try:
        answer = httpx2.get(f"{url}/readyz", timeout=_SECONDS, trust_env=False)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return Finding(service, "wrong", f"{url} does not answer ({str(error) or type(error).__name__})", fix)
    payload = _payload(answer)
    if payload.get("service") != service:
        return Finding(
            service,
            "wrong",
            f"{url} is not {service}, but {payload.get('service', 'no service of Savo')}",
            "correct the address",
        )
    if answer.status_code == httpx2.codes.OK:
        return Finding(service, "ok", f"ready at {url}")
    reasons = [
        f"{name}: {check.get('reason', 'no reason reported')}"
        for name, check in payload.get("checks", {}).items()
        if not check.get("ok")
    ]
    return Finding(
        service,
        "wrong",
        f"not ready: {'; '.join(reasons) or f'it answers {answer.status_code}'}",
        f"read its log: {_log_of(service, running)}",
    )


def _payload(answer: httpx2.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _log_of(service: str, running: RunningServices) -> str:
    if not running.is_local:
        return f"docker compose logs {service}, or kubectl -n savo logs deployment/savo-{service}"
    logs = Path(os.environ.get("SAVO_DATA_DIR", ".savo")) / "logs"
    # Services that share a process share its log.
    return str(
        next((path for path in sorted(logs.glob("*.log")) if service in path.stem.split("+")), logs / f"{service}.log")
    )


def _print(findings: list[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        observed = finding.observed + (f"\n→ {finding.fix}" if finding.fix and finding.state != "ok" else "")
        table.add_row(Text(finding.state, style=_MARKS[finding.state]), Text(finding.subject), Text(observed))
    table_console().print(table)
