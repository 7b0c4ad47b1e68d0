"""The Kafka and the sandbox that the commands use: those given by options, or the broker of `savo up` here."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer

from savo_cli.gateway import read_up_file
from savo_contracts.topics import SERVICES, Topic, topic_named
from savo_runtime.command_line.output import CommandError, WrongUseError
from savo_runtime.errors import DependencyDownError, SavoError
from savo_runtime.settings import RuntimeSettings, load_settings
from savo_runtime.telemetry.logs import configure_command_logs

__all__ = [
    "SANDBOX_NAMES",
    "Kafka",
    "Sandbox",
    "broker_settings",
    "checked_sandbox",
    "is_sandbox_name",
    "known_topic",
    "run_with_kafka",
]

Kafka = Annotated[
    str | None,
    typer.Option(
        "--kafka",
        metavar="HOST:PORT",
        help="Kafka to use; default is SAVO_KAFKA_BOOTSTRAP_SERVERS, then the broker of `savo up` here.",
    ),
]
Sandbox = Annotated[
    str | None,
    typer.Option(
        "--sandbox", metavar="NAME", envvar="SAVO_SANDBOX", help="Read this sandbox instead of the live topics."
    ),
]

T = TypeVar("T")


def broker_settings(kafka: str | None, sandbox: str | None = None) -> RuntimeSettings:
    """Settings with the address of the broker.

    Raises `WrongUseError` for a name that no sandbox can have, and `CommandError` if no broker is known.
    """
    sandbox = checked_sandbox(sandbox)
    settings = load_settings(RuntimeSettings)
    configure_command_logs(settings)
    address = kafka or os.environ.get("SAVO_KAFKA_BOOTSTRAP_SERVERS") or "embedded"
    here = read_up_file() or {}
    if address == "embedded":
        if "kafka" not in here:
            raise CommandError(
                "no broker is known: start one with `savo up`, or give its address with --kafka HOST:PORT"
            )
        address = str(here["kafka"])
    is_here = address == here.get("kafka")
    embedded = settings.embedded_broker or (is_here and bool(here.get("embedded", True)))
    optional = _left_out(here) if is_here else settings.optional_services
    return settings.model_copy(
        update={
            "kafka_bootstrap_servers": address,
            "embedded_broker": embedded,
            "sandbox": sandbox,
            "optional_services": optional,
        }
    )


def _left_out(here: dict[str, Any]) -> str | None:
    """The services that `savo up` does not run here, such as the trainer with --one-process."""
    return ",".join(name for name in SERVICES if name not in here.get("services", SERVICES)) or None


def checked_sandbox(sandbox: str | None) -> str | None:
    """The name of --sandbox. Raises `WrongUseError` for a name that no sandbox can have."""
    if sandbox is not None and not is_sandbox_name(sandbox):
        raise WrongUseError(f"--sandbox {sandbox!r} is not a sandbox name: {SANDBOX_NAMES}")
    return sandbox


SANDBOX_NAMES = "allowed are at most 20 characters of a-z, 0-9 and -"
"""End of an error message about a wrong name."""


def is_sandbox_name(name: str) -> bool:
    """Whether a name is allowed for a sandbox."""
    return re.fullmatch(r"[a-z0-9][a-z0-9-]{0,19}", name) is not None


def known_topic(name: str) -> Topic[Any]:
    """The topic of this name. Raises `WrongUseError` that lists the topics."""
    try:
        return topic_named(name)
    except KeyError as unknown:
        raise WrongUseError(str(unknown.args[0])) from unknown


def run_with_kafka(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that uses Kafka. Its errors become a `CommandError`."""
    try:
        return asyncio.run(coroutine)
    except DependencyDownError as error:
        raise CommandError(f"{error}; check its address, or give another with --kafka HOST:PORT") from error
    except (SavoError, ValueError) as error:
        raise CommandError(str(error)) from error
