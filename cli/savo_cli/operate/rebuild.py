"""`savo rebuild SERVICE`: a service's tables rebuilt from its topics, compared with the live ones and swapped."""

from __future__ import annotations

import asyncio
import time
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
        typer.Option("--apply", help="Replace the live tables with the rebuilt ones; the service may keep running."),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the rebuilt tables beside the live ones for inspection.")
    ] = False,
    kafka: Kafka = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild a service's tables from its topics and compare them with the live ones.
    Changes nothing without --apply, and never publishes an event.

    Exit 0 if the tables are equal or were applied, 1 if they differ.
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
            f"{error}; the live tables are unchanged. Check Kafka and the database with `savo doctor`"
        ) from error


def _definition(service: str) -> ServiceDefinition:
    installed = {entry.name: entry for entry in entry_points(group="savo.services")}
    if service not in installed:
        raise WrongUseError(f"no service {service!r}; there are {', '.join(sorted(installed))}")
    definition: ServiceDefinition = installed[service].load()
    return definition


def _settings(definition: ServiceDefinition, kafka: str | None) -> RuntimeSettings:
    broker = broker_settings(kafka)
    settings = load_settings(projection_of(definition).settings)
    return settings.model_copy(
        update={"kafka_bootstrap_servers": broker.kafka_bootstrap_servers, "embedded_broker": broker.embedded_broker}
    )


def _document(outcome: RebuildReport, settings: RuntimeSettings, seconds: float, *, keep: bool) -> dict[str, Any]:
    report = outcome.as_json() | {"seconds": round(seconds, 1)}
    return report | {"kept_at": rebuilt_tables_location(settings, outcome.service) if keep else None}


def _print(report: dict[str, Any]) -> None:
    console = table_console()
    table = Table("table", "live rows", "rebuilt rows", "copied rows", "SHA-256 of the rows", "")
    for compared in report["tables"]:
        equal, live = compared["equal"], compared["live_sha256"][:12]
        state = Text("equal", "green") if equal else Text(f"{compared['differing']} rows differ", "red")
        hashes = live if equal else f"{live} / {compared['rebuilt_sha256'][:12]}"
        table.add_row(
            compared["table"],
            str(compared["live_rows"]),
            str(compared["rebuilt_rows"]),
            str(report["carried"].get(compared["table"], "")),
            hashes,
            state,
        )
    console.print(table)
    for compared in report["tables"]:
        for difference in compared["differences"]:
            columns = f": {', '.join(difference['columns'])}" if difference["columns"] else ""
            row = f"{compared['table']} {difference['key']}"
            console.print(f"  {row} {_KINDS[difference['kind']]}{columns}", markup=False)
    unreadable = f", {report['passed_over']} unreadable ones skipped" if report["passed_over"] else ""
    console.print(f"{report['records']} events applied in {report['seconds']} s{unreadable}")
    console.print("not rebuilt:", style="bold")
    for name, why in report["left"].items():
        console.print(f"  {name}: {why}", style="dim", markup=False)
    console.print(_verdict(report), style="bold", markup=False)


_KINDS = {"changed": "differs in", "missing": "is not in the live table", "extra": "is in the live table only"}


def _verdict(report: dict[str, Any]) -> str:
    service = report["service"]
    if report["applied"]:
        unchanged = " (as they did before)" if report["equal"] else ""
        return f"applied: {service}'s tables now match its topics{unchanged}"
    if report["equal"]:
        return f"{service}'s tables match its topics; nothing to do"
    return f"{service}'s tables differ from its topics; replace them with `savo rebuild {service} --apply`"
