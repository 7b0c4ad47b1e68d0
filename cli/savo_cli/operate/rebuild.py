"""`savo rebuild SERVICE`: what a service keeps from topics, built anew beside the live tables, compared, and swapped on demand."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from savo_cli.options import AsJson
from savo_cli.topics.broker import Kafka, broker_settings
from savo_operations.rebuild.rebuild import OnProgress, RebuildReport, projection_of, rebuilt_tables_location
from savo_operations.rebuild.rebuild import rebuild as build_anew
from savo_runtime.command_line.output import CommandError, WrongUseError, print_json, reported_errors, table_console
from savo_runtime.command_line.progress import progress_bar
from savo_runtime.errors import SavoError
from savo_runtime.service import ServiceDefinition
from savo_runtime.settings import RuntimeSettings, load_settings

__all__ = ["rebuild"]


@reported_errors()
def rebuild(
    service: Annotated[
        str, typer.Argument(metavar="SERVICE", help="gateway, vision, collector, trainer, rollout or reasoning.")
    ],
    apply: Annotated[
        bool,
        typer.Option(
            "--apply", help="Put the rebuilt tables in the live ones' place; the service may go on meanwhile."
        ),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the rebuilt tables beside the live ones, to look at.")
    ] = False,
    kafka: Kafka = None,
    as_json: AsJson = False,
) -> None:
    """Build a service's tables anew from its topics and compare them with the live ones. Changes nothing without --apply; publishes nothing ever.

    Ends with 0 when they are equal or were applied, with 1 when they differ.
    """
    definition = _definition(service)
    settings = _settings(definition, kafka)
    began = time.monotonic()
    with progress_bar("events applied", shown=not as_json) as on_progress:
        outcome = asyncio.run(_rebuild(definition, settings, on_progress, apply=apply, keep=keep))
    report = _document(outcome, settings, time.monotonic() - began, keep=keep)
    print_json(report) if as_json else _print(report)
    raise typer.Exit(0 if outcome.equal or outcome.applied else 1)


async def _rebuild(
    definition: ServiceDefinition, settings: RuntimeSettings, on_progress: OnProgress, *, apply: bool, keep: bool
) -> RebuildReport:
    try:
        return await build_anew(definition, settings, apply=apply, keep=keep, on_progress=on_progress)
    except SavoError as error:
        raise CommandError(
            f"{error}; the live tables are as they were. `savo doctor` checks Kafka and the database"
        ) from error


def _definition(service: str) -> ServiceDefinition:
    installed = {entry.name: entry for entry in entry_points(group="savo.services")}
    if service not in installed:
        raise WrongUseError(f"there is no service {service!r}; there are {', '.join(sorted(installed))}")
    definition: ServiceDefinition = installed[service].load()
    return definition


def _settings(definition: ServiceDefinition, kafka: str | None) -> RuntimeSettings:
    broker = broker_settings(kafka)
    settings = load_settings(projection_of(definition).settings)
    return settings.model_copy(
        update={"kafka_bootstrap_servers": broker.kafka_bootstrap_servers, "embedded_broker": broker.embedded_broker}
    )


def _document(outcome: RebuildReport, settings: RuntimeSettings, seconds: float, *, keep: bool) -> dict[str, Any]:
    tables = [{**asdict(table), "equal": table.equal} for table in outcome.tables]
    report = asdict(outcome) | {"tables": tables, "equal": outcome.equal, "seconds": round(seconds, 1)}
    return report | {"kept_at": rebuilt_tables_location(settings, outcome.service) if keep else None}


def _print(report: dict[str, Any]) -> None:
    console = table_console()
    table = Table("table", "live rows", "rebuilt rows", "carried over", "SHA-256 of the rows", "")
    for one in report["tables"]:
        state = Text("equal", "green") if one["equal"] else Text(f"{one['differing']} rows differ", "red")
        hashes = (
            one["live_sha256"][:12] if one["equal"] else f"{one['live_sha256'][:12]} / {one['rebuilt_sha256'][:12]}"
        )
        table.add_row(
            one["table"],
            str(one["live_rows"]),
            str(one["rebuilt_rows"]),
            str(report["carried"].get(one["table"], "")),
            hashes,
            state,
        )
    console.print(table)
    for one in report["tables"]:
        for difference in one["differences"]:
            columns = f": {', '.join(difference['columns'])}" if difference["columns"] else ""
            console.print(f"  {one['table']} {difference['key']} {_KINDS[difference['kind']]}{columns}", markup=False)
    unreadable = f", {report['passed_over']} unreadable ones passed over" if report["passed_over"] else ""
    console.print(f"{report['records']} events applied in {report['seconds']} s{unreadable}")
    console.print("left as it is:", style="bold")
    for name, why in report["left"].items():
        console.print(f"  {name}: {why}", style="dim", markup=False)
    console.print(_verdict(report), style="bold", markup=False)


_KINDS = {"changed": "differs in", "missing": "is not in the live table", "extra": "is in the live table only"}


def _verdict(report: dict[str, Any]) -> str:
    service = report["service"]
    if report["applied"]:
        return f"applied: {service}'s tables are now as its topics tell" + (
            " (they were before)" if report["equal"] else ""
        )
    if report["equal"]:
        return f"{service} is as its topics tell; nothing to do"
    return f"{service} is not as its topics tell; `savo rebuild {service} --apply` puts that right"
