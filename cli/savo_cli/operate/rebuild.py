"""`savo rebuild SERVICE`: what a service keeps from topics, built anew beside the live tables, compared, and swapped on demand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from savo_cli.options import AsJson, CommandError, WrongUseError, page, speaking, tell_json
from savo_cli.topics.broker import Kafka, broker_settings

if TYPE_CHECKING:
    from savo_operations.rebuild.rebuild import OnProgress, Rebuilt
    from savo_runtime.service import ServiceDefinition
    from savo_runtime.settings import RuntimeSettings

__all__ = ["rebuild"]

_TOLD_EVERY = 0.1
"""Seconds between two words of progress."""


def rebuild(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="gateway, vision, collector, trainer, rollout or reasoning.")],
    apply: Annotated[bool, typer.Option("--apply", help="Put the rebuilt tables in the live ones' place; the service may go on meanwhile.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the rebuilt tables beside the live ones, to look at.")] = False,
    kafka: Kafka = None,
    as_json: AsJson = False,
) -> None:
    """Build a service's tables anew from its topics and compare them with the live ones. Changes nothing without --apply; publishes nothing ever.

    Ends with 0 when they are equal or were applied, with 1 when they differ.
    """
    with speaking():
        definition = _definition(service)
        settings = _settings(definition, kafka)
        began = time.monotonic()
        with _progress(as_json) as on_progress:
            outcome = asyncio.run(_rebuild(definition, settings, on_progress, apply=apply, keep=keep))
        told = _document(outcome, settings, time.monotonic() - began, keep=keep)
    tell_json(told) if as_json else _tell(told)
    raise typer.Exit(0 if outcome.equal or outcome.applied else 1)


async def _rebuild(definition: ServiceDefinition, settings: RuntimeSettings, on_progress: OnProgress, *, apply: bool, keep: bool) -> Rebuilt:
    from savo_operations.rebuild.rebuild import rebuild as build_anew
    from savo_runtime.errors import SavoError

    try:
        return await build_anew(definition, settings, apply=apply, keep=keep, on_progress=on_progress)
    except SavoError as fault:
        raise CommandError(f"{fault}; the live tables are as they were. `savo doctor` checks Kafka and the database") from fault


def _definition(service: str) -> ServiceDefinition:
    from importlib.metadata import entry_points

    installed = {entry.name: entry for entry in entry_points(group="savo.services")}
    if service not in installed:
        raise WrongUseError(f"there is no service {service!r}; there are {', '.join(sorted(installed))}")
    definition: ServiceDefinition = installed[service].load()
    return definition


def _settings(definition: ServiceDefinition, kafka: str | None) -> RuntimeSettings:
    from savo_operations.rebuild.rebuild import projection_of
    from savo_runtime.settings import load_settings

    broker = broker_settings(kafka)
    settings = load_settings(projection_of(definition).settings)
    return settings.model_copy(update={"kafka_bootstrap_servers": broker.kafka_bootstrap_servers, "embedded_broker": broker.embedded_broker})


@contextmanager
def _progress(quiet: bool) -> Iterator[OnProgress]:
    """A bar on stderr, where a person looks at one."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("events applied"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=None)
        told = 0.0

        def on_progress(done: int, total: int) -> None:
            nonlocal told
            if done == total or time.monotonic() - told > _TOLD_EVERY:
                told = time.monotonic()
                progress.update(task, completed=done, total=total)

        yield on_progress


def _document(outcome: Rebuilt, settings: RuntimeSettings, seconds: float, *, keep: bool) -> dict[str, Any]:
    from savo_operations.rebuild.rebuild import fresh_place

    tables = [{**asdict(table), "equal": table.equal} for table in outcome.tables]
    told = asdict(outcome) | {"tables": tables, "equal": outcome.equal, "seconds": round(seconds, 1)}
    return told | {"kept_at": fresh_place(settings, outcome.service) if keep else None}


def _tell(told: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    console = page()
    table = Table("table", "live rows", "rebuilt rows", "carried over", "SHA-256 of the rows", "")
    for one in told["tables"]:
        word = Text("equal", "green") if one["equal"] else Text(f"{one['differing']} rows differ", "red")
        hashes = one["live_sha256"][:12] if one["equal"] else f"{one['live_sha256'][:12]} / {one['rebuilt_sha256'][:12]}"
        table.add_row(one["table"], str(one["live_rows"]), str(one["rebuilt_rows"]), str(told["carried"].get(one["table"], "")), hashes, word)
    console.print(table)
    for one in told["tables"]:
        for difference in one["differences"]:
            columns = f": {', '.join(difference['columns'])}" if difference["columns"] else ""
            console.print(f"  {one['table']} {difference['key']} {_WORDS[difference['kind']]}{columns}", markup=False)
    unreadable = f", {told['passed_over']} unreadable ones passed over" if told["passed_over"] else ""
    console.print(f"{told['records']} events applied in {told['seconds']} s{unreadable}")
    console.print("left as it is:", style="bold")
    for name, why in told["left"].items():
        console.print(f"  {name}: {why}", style="dim", markup=False)
    console.print(_verdict(told), style="bold", markup=False)


_WORDS = {"changed": "differs in", "missing": "is not in the live table", "extra": "is in the live table only"}


def _verdict(told: dict[str, Any]) -> str:
    service = told["service"]
    if told["applied"]:
        return f"applied: {service}'s tables are now as its topics tell" + (" (they were before)" if told["equal"] else "")
    if told["equal"]:
        return f"{service} is as its topics tell; nothing to do"
    return f"{service} is not as its topics tell; `savo rebuild {service} --apply` puts that right"
