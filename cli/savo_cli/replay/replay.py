"""`savo replay`: records of a topic once more, into a sandbox or into the original, without mail, without spending, without a sample twice."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from savo_cli.options import AsJson, Key, Url, WrongUseError, page, speaking, tell_json
from savo_cli.topics.broker import Kafka, broker_settings, known_topic, on_kafka
from savo_cli.topics.selection import ScanIds, Subjects, Types, Users, Where, selection_of
from savo_contracts.confidence import CONFIDENCE_THRESHOLD

if TYPE_CHECKING:
    from savo_contracts.topics import Topic
    from savo_operations.replay.replay import OnProgress, Report
    from savo_operations.replay.requests import Order
    from savo_runtime.settings import RuntimeSettings

__all__ = ["replay"]

DEFAULT_SANDBOX = "replay"


def replay(
    topic: Annotated[str | None, typer.Option("--topic", metavar="T", help="Which topic's records; see `savo topics list`. Scans with --model.")] = None,
    since: Annotated[str, typer.Option("--from", metavar="TIME|OFFSET", help="start, 1200, 3/1200, 2026-11-23T08:00Z, or 2h (ago).")] = "start",
    until: Annotated[str, typer.Option("--to", metavar="TIME|OFFSET", help="The same words; never past what is there when it begins.")] = "end",
    scan_ids: ScanIds = None,
    users: Users = None,
    subjects: Subjects = None,
    types: Types = None,
    where: Where = None,
    into: Annotated[Literal["sandbox", "original"], typer.Option(help="Topics of their own, or the same ones again.")] = "sandbox",
    sandbox: Annotated[str, typer.Option("--sandbox", help="Name of the sandbox.")] = DEFAULT_SANDBOX,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be carried; write nothing.")] = False,
    rate: Annotated[float | None, typer.Option("--rate", metavar="N", min=0.1, help="At most N records a second.")] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="V", help="Recorded scans through v3, champion or an ONNX file: what changes.")] = None,
    output: Annotated[Path | None, typer.Option("--output", metavar="DIR", help="With --model: folder of the pictures and the page.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="With --model: at most N scans in this run.")] = None,
    pictures: Annotated[int, typer.Option("--pictures", metavar="N", min=0, help="With --model: at most N pictures.")] = 100,
    threshold: Annotated[
        float, typer.Option(envvar="SAVO_VISION_CONFIDENCE_THRESHOLD", min=0, max=1, help="With --model: less asks the provider.")
    ] = CONFIDENCE_THRESHOLD,
    kafka: Kafka = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Carry records of a topic into a sandbox, or into the topic once more. The same command goes on where an interrupted one was."""
    with speaking():
        from savo_operations.replay.positions import parse_range
        from savo_operations.replay.requests import Order

        settings = broker_settings(kafka)
        try:
            parse_range(since, until, datetime.now(UTC))
        except ValueError as flaw:
            raise WrongUseError(str(flaw)) from flaw
        selection = selection_of(scan_ids, users, subjects, types, where, topics=_read(topic, model), url=url, key=key)
        if model:
            from savo_cli.replay.model_replay import ModelReplay, replay_with_model

            _check_scans(topic)
            pinned = ModelReplay(
                model=model, since=since, until=until, selection=selection, output=output or settings.data_dir / "replays" / _folder_of(model),
                threshold=threshold, limit=limit, pictures=pictures, dry_run=dry_run,
            )  # fmt: skip
            with _bar(f"scans through {model}", shown=not as_json) as on_progress:
                replay_with_model(pinned, settings, as_json=as_json, on_progress=on_progress)
            return
        if topic is None:
            raise typer.BadParameter("name a topic with --topic, or a model with --model")
        chosen = known_topic(topic)
        order = _checked(lambda: Order(chosen, since, until, selection, into, sandbox if into == "sandbox" else None), settings)
        report = _carry(settings, order, dry_run=dry_run, rate=rate, quiet=as_json)
    tell_json(report.as_json()) if as_json else _tell(report, settings)


def _read(topic: str | None, model: str | None) -> list[Topic[Any]] | None:
    """The topics whose records are looked at; None before one is named."""
    from savo_contracts.topics import SCANS_COMPLETED, SCANS_REQUESTED

    if model:
        return [SCANS_COMPLETED, SCANS_REQUESTED]
    return [known_topic(topic)] if topic else None


def _check_scans(topic: str | None) -> None:
    if topic not in (None, "scans.requested", "scans.completed"):
        raise typer.BadParameter("--model replays scans: leave --topic out, or name scans.requested or scans.completed")


def _folder_of(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", model).strip("-.")[-60:] or "model"


def _checked(make: Callable[[], Order], settings: RuntimeSettings) -> Order:
    from savo_runtime.errors import SavoError
    from savo_runtime.settings import RuntimeSettings as Settings

    try:
        order = make()
        if order.sandbox:
            Settings.__pydantic_validator__.validate_assignment(settings.model_copy(), "sandbox", order.sandbox)
    except SavoError as refused:
        raise WrongUseError(str(refused)) from refused
    except ValueError as flaw:
        raise WrongUseError("--sandbox: a name of a-z, 0-9 and -, at most 20 long") from flaw
    return order


def _carry(settings: RuntimeSettings, order: Order, *, dry_run: bool, rate: float | None, quiet: bool) -> Report:
    from savo_operations.replay.replay import Replay, survey
    from savo_runtime.telemetry.audit import this_user

    with _bar(order.topic.name, shown=not quiet) as on_progress:
        if dry_run:
            return on_kafka(survey(settings, order, on_progress=on_progress))
        return on_kafka(Replay(settings, order, by=this_user(), rate=rate, on_progress=on_progress).run())


@contextmanager
def _bar(title: str, *, shown: bool) -> Iterator[OnProgress | None]:
    """On stderr, and only where a person looks."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield None
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda passed, in_all: progress.update(task, completed=passed, total=in_all)


def _tell(report: Report, settings: RuntimeSettings) -> None:
    from rich.table import Table

    console = page()
    told = report.as_json()
    where = f"sandbox {report.sandbox}" if report.sandbox else "the original"
    did = "would go" if report.dry_run else "went on into" if report.resumed else "went"
    console.print(f"{report.chosen:,} of {report.read:,} records of {report.topic} {did} into {where}".replace("into into", "into"), markup=False)
    table = Table(box=None, show_header=False)
    for name, count in sorted(told["types"].items()):
        table.add_row("type", name, f"{count:,}")
    for name, count in sorted(told["left_out"].items()):
        table.add_row("left out", name, f"{count:,}")
    console.print(table)
    if report.chosen and report.first and report.last:
        console.print(f"from {report.first:%Y-%m-%d %H:%M:%S}Z to {report.last:%Y-%m-%d %H:%M:%S}Z, in {report.seconds:.1f} s", markup=False)
    if report.sandbox and not report.dry_run:
        work, look = _start_words(settings, report.sandbox), f"savo topics tail --sandbox {report.sandbox} --from start"
        console.print(f"work on it:  {work}\nlook into it:  {look}", markup=False, soft_wrap=True)  # to be copied: a line stays one line


def _start_words(settings: RuntimeSettings, sandbox: str) -> str:
    """Whoever has a Kafka has services in containers, with settings that this command does not know."""
    if not settings.embedded_broker:
        return f"start services with SAVO_SANDBOX={sandbox} beside the others; with compose: docker compose run --rm -e SAVO_SANDBOX={sandbox} vision"
    words = {
        "SAVO_SANDBOX": sandbox,
        "SAVO_DATA_DIR": str(settings.data_dir.resolve()),
        "SAVO_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "SAVO_EMBEDDED_BROKER": "true",
    }
    # This very Python: a plain `python` is another one wherever no virtual environment is activated.
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in words.items()), shlex.quote(sys.executable), "-m savo_runtime vision collector"])
