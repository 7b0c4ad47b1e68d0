"""Which Kafka the commands read and write: the one that is named, or that of `savo up` here; and in which sandbox."""

from __future__ import annotations

import logging
import os
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from savo_cli.speaking import CommandError, WrongUseError

if TYPE_CHECKING:
    from savo_contracts.topics import Topic
    from savo_runtime.settings import RuntimeSettings

__all__ = ["Kafka", "Sandbox", "broker_settings", "known_topic", "on_kafka"]

Kafka = Annotated[str | None, typer.Option("--kafka", help="HOST:PORT; default is SAVO_KAFKA_BOOTSTRAP_SERVERS, then the broker of `savo up` here.")]
Sandbox = Annotated[str | None, typer.Option("--sandbox", envvar="SAVO_SANDBOX", help="Look into this sandbox in the place of the live topics.")]

T = TypeVar("T")


def broker_settings(kafka: str | None, sandbox: str | None = None) -> RuntimeSettings:
    """Raises `CommandError` when there is no broker to go to."""
    from savo_cli.gateway import running_here
    from savo_runtime.settings import RuntimeSettings, load_settings
    from savo_runtime.telemetry.logs import configure_command_logs

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what fails there is told in one line
    settings = load_settings(RuntimeSettings)
    configure_command_logs(settings)
    address = kafka or os.environ.get("SAVO_KAFKA_BOOTSTRAP_SERVERS") or "embedded"
    here = running_here() or {}
    if address == "embedded":
        if "kafka" not in here:
            raise CommandError("no broker to read from: start one with `savo up`, or name one with --kafka HOST:PORT")
        address = str(here["kafka"])
    embedded = settings.embedded_broker or (address == here.get("kafka") and bool(here.get("embedded", True)))
    return settings.model_copy(update={"kafka_bootstrap_servers": address, "embedded_broker": embedded, "sandbox": sandbox})


def known_topic(name: str) -> Topic[Any]:
    """Raises `CommandError` naming the topics there are."""
    from savo_contracts.topics import topic_named

    try:
        return topic_named(name)
    except KeyError as unknown:
        raise WrongUseError(str(unknown.args[0])) from unknown


def on_kafka(work: Coroutine[Any, Any, T]) -> T:
    """Run it; what the product's own errors say becomes the command's line."""
    import asyncio

    from savo_runtime.errors import DependencyDownError, SavoError

    try:
        return asyncio.run(work)
    except DependencyDownError as away:
        raise CommandError(f"{away}; is it the right one? --kafka HOST:PORT") from away
    except (SavoError, ValueError) as flaw:
        raise CommandError(str(flaw)) from flaw
