"""`savo replay`: records of a topic once more, into a sandbox or into the original.

It sends no mail, pays no provider and stores no sample twice.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from savo_cli.options import AsJson, Key, Url
from savo_cli.topics.broker import Kafka, broker_settings, is_sandbox_name, known_topic, on_kafka
from savo_cli.topics.selection import ScanIds, Subjects, Types, Users, Where, selection_of
from savo_contracts.confidence import CONFIDENCE_THRESHOLD
from savo_contracts.topics import SCANS_COMPLETED, SCANS_REQUESTED, Topic
from savo_operations.replay.positions import parse_range
from savo_operations.replay.replay import Replay, ReplayReport, preview_replay
from savo_operations.replay.requests import RefusedRequestError, ReplayRequest
from savo_operations.replay.selection import Selection
from savo_runtime.command_line.output import WrongUseError, print_json, reported_errors, table_console
from savo_runtime.command_line.progress import progress_bar
from savo_runtime.settings import RuntimeSettings
from savo_runtime.telemetry.audit import this_user
from savo_runtime.timing.clock import utc_now

__all__ = ["replay"]

DEFAULT_SANDBOX = "replay"


@reported_errors()
def replay(
    topic: Annotated[
        str | None,
        typer.Option("--topic", metavar="T", help="Which topic's records; see `savo topics list`. Scans with --model."),
    ] = None,
    since: Annotated[
        str, typer.Option("--from", metavar="TIME|OFFSET", help="start, 1200, 3/1200, 2026-11-23T08:00Z, or 2h (ago).")
    ] = "start",
    until: Annotated[
        str,
        typer.Option("--to", metavar="TIME|OFFSET", help="The same words; never past what is there when it begins."),
    ] = "end",
    scan_ids: ScanIds = None,
    users: Users = None,
    subjects: Subjects = None,
    types: Types = None,
    where: Where = None,
    into: Annotated[
        Literal["sandbox", "original"], typer.Option(help="Topics of their own, or the same ones again.")
    ] = "sandbox",
    sandbox: Annotated[str, typer.Option("--sandbox", help="Name of the sandbox.")] = DEFAULT_SANDBOX,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be carried; write nothing.")] = False,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="N", min=0.1, help="At most N records a second.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="V", help="Recorded scans through v3, champion or an ONNX file: what changes."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="With --model: folder of the pictures and the page.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="With --model: at most N scans in this run.")
    ] = None,
    pictures: Annotated[
        int, typer.Option("--pictures", metavar="N", min=0, help="With --model: at most N pictures.")
    ] = 100,
    threshold: Annotated[
        float,
        typer.Option(
            envvar="SAVO_VISION_CONFIDENCE_THRESHOLD", min=0, max=1, help="With --model: less asks the provider."
        ),
    ] = CONFIDENCE_THRESHOLD,
    kafka: Kafka = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Carry records of a topic into a sandbox, or into the topic once more. The same command goes on where an interrupted one was."""
    settings = broker_settings(kafka)
    try:
        parse_range(since, until, utc_now())
    except ValueError as error:
        raise WrongUseError(str(error)) from error
    selection = selection_of(scan_ids, users, subjects, types, where, topics=_read(topic, model), url=url, key=key)
    if model:
        _check_scans(topic)
        pinned = {"threshold": threshold, "limit": limit, "pictures": pictures, "dry_run": dry_run}
        folder = output or settings.data_dir / "replays" / _folder_of(model)
        _replay_with_model(settings, model, since, until, selection, folder, as_json=as_json, **pinned)
        return
    if topic is None:
        raise typer.BadParameter("name a topic with --topic, or a model with --model")
    order = _order(known_topic(topic), since, until, selection, into, sandbox)
    report = _carry(settings, order, dry_run=dry_run, rate=rate, quiet=as_json)
    print_json(report.as_json()) if as_json else _print(report, settings)


def _read(topic: str | None, model: str | None) -> list[Topic[Any]] | None:
    """The topics whose records are looked at; None before one is named."""
    if model:
        return [SCANS_COMPLETED, SCANS_REQUESTED]
    return [known_topic(topic)] if topic else None


def _check_scans(topic: str | None) -> None:
    if topic not in (None, "scans.requested", "scans.completed"):
        raise typer.BadParameter("--model replays scans: leave --topic out, or name scans.requested or scans.completed")


def _folder_of(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", model).strip("-.")[-60:] or "model"


def _order(
    topic: Topic[Any],
    since: str,
    until: str,
    selection: Selection,
    into: Literal["sandbox", "original"],
    sandbox: str,
) -> ReplayRequest:
    """Raises `WrongUseError`."""
    try:
        order = ReplayRequest(topic, since, until, selection, into, sandbox if into == "sandbox" else None)
    except RefusedRequestError as refused:
        raise WrongUseError(str(refused)) from refused
    if order.sandbox and not is_sandbox_name(order.sandbox):
        raise WrongUseError("--sandbox: a name of a-z, 0-9 and -, at most 20 long")
    return order


def _replay_with_model(
    settings: RuntimeSettings,
    model: str,
    since: str,
    until: str,
    selection: Selection,
    folder: Path,
    *,
    as_json: bool,
    **pinned: Any,
) -> None:
    # ONNX Runtime and OpenCV, for --model alone.
    from savo_cli.replay.model_replay import ModelReplay, replay_with_model

    order = ModelReplay(model=model, since=since, until=until, selection=selection, output=folder, **pinned)
    with progress_bar(f"scans through {model}", shown=not as_json) as on_progress:
        replay_with_model(order, settings, as_json=as_json, on_progress=on_progress)


def _carry(
    settings: RuntimeSettings, order: ReplayRequest, *, dry_run: bool, rate: float | None, quiet: bool
) -> ReplayReport:
    with progress_bar(order.topic.name, shown=not quiet) as on_progress:
        if dry_run:
            return on_kafka(preview_replay(settings, order, on_progress=on_progress))
        return on_kafka(Replay(settings, order, by=this_user(), rate=rate, on_progress=on_progress).run())


def _print(report: ReplayReport, settings: RuntimeSettings) -> None:
    console = table_console()
    counts = report.as_json()
    verb = "would go" if report.dry_run else "went on" if report.resumed else "went"
    target = f"sandbox {report.sandbox}" if report.sandbox else "the original"
    records = f"{report.chosen:,} of {report.read:,} records of {report.topic}"
    console.print(f"{records} {verb} into {target}", markup=False)
    table = Table(box=None, show_header=False)
    for name, count in sorted(counts["types"].items()):
        table.add_row("type", name, f"{count:,}")
    for name, count in sorted(counts["left_out"].items()):
        table.add_row("left out", name, f"{count:,}")
    console.print(table)
    if report.chosen and report.first and report.last:
        console.print(
            f"from {report.first:%Y-%m-%d %H:%M:%S}Z to {report.last:%Y-%m-%d %H:%M:%S}Z, in {report.seconds:.1f} s",
            markup=False,
        )
    if report.sandbox and not report.dry_run:
        work, tail = (
            _start_command(settings, report.sandbox),
            f"savo topics tail --sandbox {report.sandbox} --from start",
        )
        console.print(
            f"work on it:  {work}\nlook into it:  {tail}", markup=False, soft_wrap=True
        )  # to be copied: a line stays one line


def _start_command(settings: RuntimeSettings, sandbox: str) -> str:
    """Whoever has a Kafka has services in containers, with settings that this command does not know."""
    if not settings.embedded_broker:
        return f"start services with SAVO_SANDBOX={sandbox} beside the others; with compose: docker compose run --rm -e SAVO_SANDBOX={sandbox} vision"
    variables = {
        "SAVO_SANDBOX": sandbox,
        "SAVO_DATA_DIR": str(settings.data_dir.resolve()),
        "SAVO_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "SAVO_EMBEDDED_BROKER": "true",
    }
    # This very Python: a plain `python` is another one wherever no virtual environment is activated.
    return " ".join(
        [
            *(f"{name}={shlex.quote(value)}" for name, value in variables.items()),
            shlex.quote(sys.executable),
            "-m savo_runtime vision collector",
        ]
    )
