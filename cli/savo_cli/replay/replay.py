"""`savo replay`: a topic's records copied into a sandbox or into the same topic again.

A replay sends no mail, pays no provider and stores no sample twice.
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
from savo_cli.topics.broker import SANDBOX_NAMES, Kafka, broker_settings, is_sandbox_name, known_topic, run_with_kafka
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
        typer.Option(
            "--topic", metavar="TOPIC", help="Topic to read; see `savo topics list`. Default with --model: scans."
        ),
    ] = None,
    since: Annotated[
        str,
        typer.Option(
            "--from", metavar="TIME|OFFSET", help="Begin at: start, 1200, 3/1200, 2026-11-23T08:00Z, or 2h (ago)."
        ),
    ] = "start",
    until: Annotated[
        str,
        typer.Option(
            "--to", metavar="TIME|OFFSET", help="Stop at this position, as --from; at the latest at the current end."
        ),
    ] = "end",
    scan_ids: ScanIds = None,
    users: Users = None,
    subjects: Subjects = None,
    types: Types = None,
    where: Where = None,
    into: Annotated[
        Literal["sandbox", "original"],
        typer.Option(metavar="sandbox|original", help="Into topics of a sandbox, or into the same topic again."),
    ] = "sandbox",
    sandbox: Annotated[str, typer.Option("--sandbox", metavar="NAME", help="Name of the sandbox.")] = DEFAULT_SANDBOX,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be copied; write nothing.")] = False,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="N", min=0.1, help="At most N records a second.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="VERSION|FILE",
            help="Compare recorded scans with the answers of v3, champion or an ONNX file.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="With --model: folder for pictures and page.")
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
            metavar="CONFIDENCE",
            envvar="SAVO_VISION_CONFIDENCE_THRESHOLD",
            min=0,
            max=1,
            help="With --model: a lower confidence asks the provider.",
        ),
    ] = CONFIDENCE_THRESHOLD,
    kafka: Kafka = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Copy a topic's records into a sandbox, or into the same topic again.
    The same command continues an interrupted replay.
    """
    if topic is None and model is None:
        raise typer.BadParameter("give a topic with --topic, or a model with --model")
    try:
        parse_range(since, until, utc_now())
    except ValueError as error:
        raise WrongUseError(str(error)) from error
    selection = selection_of(
        scan_ids, users, subjects, types, where, topics=_topics_to_read(topic, model), url=url, key=key
    )
    if model:
        _check_scans(topic)
        settings = broker_settings(kafka)
        pinned = {"threshold": threshold, "limit": limit, "pictures": pictures, "dry_run": dry_run}
        folder = output or settings.data_dir / "replays" / _folder_of(model)
        _replay_with_model(settings, model, since, until, selection, folder, as_json=as_json, **pinned)
        return
    request = _request(known_topic(str(topic)), since, until, selection, into, sandbox)
    settings = broker_settings(kafka)
    report = _copy_records(settings, request, dry_run=dry_run, rate=rate, quiet=as_json)
    print_json(report.as_json()) if as_json else _print(report, settings)


def _topics_to_read(topic: str | None, model: str | None) -> list[Topic[Any]] | None:
    """The topics whose records are selected; None if no topic is given."""
    if model:
        return [SCANS_COMPLETED, SCANS_REQUESTED]
    return [known_topic(topic)] if topic else None


def _check_scans(topic: str | None) -> None:
    if topic not in (None, "scans.requested", "scans.completed"):
        raise typer.BadParameter("--model replays scans: omit --topic, or give scans.requested or scans.completed")


def _folder_of(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", model).strip("-.")[-60:] or "model"


def _request(
    topic: Topic[Any],
    since: str,
    until: str,
    selection: Selection,
    into: Literal["sandbox", "original"],
    sandbox: str,
) -> ReplayRequest:
    """Raises `WrongUseError`."""
    try:
        request = ReplayRequest(topic, since, until, selection, into, sandbox if into == "sandbox" else None)
    except RefusedRequestError as refused:
        raise WrongUseError(str(refused)) from refused
    if request.sandbox and not is_sandbox_name(request.sandbox):
        raise WrongUseError(f"--sandbox {request.sandbox!r} is not a sandbox name: {SANDBOX_NAMES}")
    return request


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
    # Imports ONNX Runtime and OpenCV, which only --model needs.
    from savo_cli.replay.model_replay import ModelReplay, replay_with_model

    request = ModelReplay(model=model, since=since, until=until, selection=selection, output=folder, **pinned)
    with progress_bar(f"scans through {model}", shown=not as_json) as on_progress:
        replay_with_model(request, settings, as_json=as_json, on_progress=on_progress)


def _copy_records(
    settings: RuntimeSettings, request: ReplayRequest, *, dry_run: bool, rate: float | None, quiet: bool
) -> ReplayReport:
    with progress_bar(request.topic.name, shown=not quiet) as on_progress:
        if dry_run:
            return run_with_kafka(preview_replay(settings, request, on_progress=on_progress))
        return run_with_kafka(Replay(settings, request, by=this_user(), rate=rate, on_progress=on_progress).run())


def _print(report: ReplayReport, settings: RuntimeSettings) -> None:
    console = table_console()
    counts = report.as_json()
    verb = "would be copied" if report.dry_run else "copied (continued)" if report.resumed else "copied"
    target = f"sandbox {report.sandbox}" if report.sandbox else "the same topic"
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
        process = _start_command(settings, report.sandbox)
        inspect = f"savo topics tail --sandbox {report.sandbox} --from start"
        # Without wrapping, so that each command can be copied as one line.
        console.print(f"to process it:  {process}\nto inspect it:  {inspect}", markup=False, soft_wrap=True)


def _start_command(settings: RuntimeSettings, sandbox: str) -> str:
    """How to run services on a sandbox. With a real Kafka they run in containers, whose settings are unknown here."""
    if not settings.embedded_broker:
        compose = f"docker compose run --rm -e SAVO_SANDBOX={sandbox} vision"
        return f"start further services with SAVO_SANDBOX={sandbox}; with compose: {compose}"
    variables = {
        "SAVO_SANDBOX": sandbox,
        "SAVO_DATA_DIR": str(settings.data_dir.resolve()),
        "SAVO_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "SAVO_EMBEDDED_BROKER": "true",
    }
    # The path of this Python: `python` is another one if no virtual environment is active.
    return " ".join(
        [
            *(f"{name}={shlex.quote(value)}" for name, value in variables.items()),
            shlex.quote(sys.executable),
            "-m savo_runtime vision collector",
        ]
    )
