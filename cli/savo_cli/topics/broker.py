"""Which Kafka the commands read and write: the one that is named, or that of `savo up` here; and in which sandbox."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer

from savo_cli.gateway import running_here
from savo_contracts.topics import SERVICES, Topic, topic_named
from savo_runtime.command_line.output import CommandError, WrongUseError
from savo_runtime.errors import DependencyDownError, SavoError
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.telemetry.logs import configure_command_logs

__all__ = ["Kafka", "Sandbox", "broker_settings", "is_sandbox_name", "known_topic", "on_kafka"]

Kafka = Annotated[
    str | None,
    typer.Option(
        "--kafka", help="HOST:PORT; default is SAVO_KAFKA_BOOTSTRAP_SERVERS, then the broker of `savo up` here."
    ),
]
Sandbox = Annotated[
    str | None,
    typer.Option("--sandbox", envvar="SAVO_SANDBOX", help="Look into this sandbox in the place of the live topics."),
]

T = TypeVar("T")


def broker_settings(kafka: str | None, sandbox: str | None = None) -> RuntimeSettings:
    """Raises `CommandError` when there is no broker to go to."""
    settings = load_settings(RuntimeSettings)
    configure_command_logs(settings)
    address = kafka or os.environ.get("SAVO_KAFKA_BOOTSTRAP_SERVERS") or "embedded"
    here = running_here() or {}
    if address == "embedded":
        if "kafka" not in here:
            raise CommandError("no broker to read from: start one with `savo up`, or name one with --kafka HOST:PORT")
        address = str(here["kafka"])
    is_here = address == here.get("kafka")
    embedded = settings.embedded_broker or (is_here and bool(here.get("embedded", True)))
    optional = _left_out(here) if is_here else settings.optional_services
    return settings.model_copy(
        update={
            "kafka_bootstrap_servers": address,
            "embedded_broker": embedded,
            "sandbox": _checked(sandbox),
            "optional_services": optional,
        }
    )


def _left_out(here: dict[str, Any]) -> str | None:
    """The services that `savo up` does not run here, as with --one-process."""
    return ",".join(name for name in SERVICES if name not in here.get("services", SERVICES)) or None


def _checked(sandbox: str | None) -> str | None:
    if sandbox is not None and not is_sandbox_name(sandbox):
        raise WrongUseError(f"--sandbox {sandbox!r} is no name of a sandbox: a name of a-z, 0-9 and -, at most 20 long")
    return sandbox


def is_sandbox_name(name: str) -> bool:
    return re.fullmatch(r"[a-z0-9][a-z0-9-]{0,19}", name) is not None


def known_topic(name: str) -> Topic[Any]:
    """Raises `CommandError` naming the topics there are."""
    try:
        return topic_named(name)
    except KeyError as unknown:
        raise WrongUseError(str(unknown.args[0])) from unknown


def on_kafka(work: Coroutine[Any, Any, T]) -> T:
    """Run it; what the product's own errors say becomes the command's line."""
    try:
        return asyncio.run(work)
    except DependencyDownError as away:
        raise CommandError(f"{away}; is it the right one? --kafka HOST:PORT") from away
    except (SavoError, ValueError) as error:
        raise CommandError(str(error)) from error
