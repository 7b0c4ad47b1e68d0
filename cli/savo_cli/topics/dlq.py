"""`savo dlq`: dead letters counted, shown with their reasons, and sent back to their topic after a fix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from savo_cli.options import AsJson, Key, Url
from savo_cli.topics.broker import Kafka, Sandbox, broker_settings, run_with_kafka
from savo_cli.topics.sandboxes import require_sandbox
from savo_cli.topics.selection import ScanIds, Subjects, Types, Users, Where, selection_of
from savo_contracts.topics import SERVICES, TOPICS, dead_letter_topics
from savo_operations.replay.dead_letters import DeadLetter, DeadLetterSelection
from savo_operations.replay.record_view import body_of, hexdump
from savo_operations.replay.redrive import Redrive, RedriveReport, RedriveState
from savo_operations.replay.selection import Selection
from savo_runtime.command_line.output import CommandError, WrongUseError, print_json, reported_errors, table_console
from savo_runtime.messaging.consuming.records import moment_of
from savo_runtime.messaging.kafka.topic_reader import TopicReader
from savo_runtime.settings import RuntimeSettings
from savo_runtime.telemetry.audit import this_user

__all__ = ["list_dead_letters", "redrive", "show"]

Topics = Annotated[
    list[str] | None,
    typer.Option(
        "--topic", metavar="TOPIC", help="Only dead letters of this topic, by its name or its dead-letter topic's."
    ),
]
Services = Annotated[
    list[str] | None, typer.Option("--service", metavar="SERVICE", help="Only dead letters of this service.")
]
Reasons = Annotated[
    list[str] | None,
    typer.Option("--reason", metavar="REASON", help="Only dead letters with this reason; see `savo dlq list`."),
]
Places = Annotated[
    list[str] | None, typer.Option("--at", metavar="PARTITION/OFFSET", help="Only the dead letter at this place.")
]


@reported_errors()
def list_dead_letters(
    topics: Topics = None,
    services: Services = None,
    reasons: Reasons = None,
    kafka: Kafka = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Count dead letters by topic, service and reason, and those already sent back."""
    selected = DeadLetterSelection(_known(topics), _services(services), frozenset(reasons or ()))
    settings = broker_settings(kafka, sandbox)
    require_sandbox(settings)
    rows = _rows(run_with_kafka(_read(settings, selected)), settings)
    print_json(rows) if as_json else _print_rows(rows, chosen=bool(topics or services or reasons))


@reported_errors()
def show(
    topics: Topics = None,
    services: Services = None,
    reasons: Reasons = None,
    places: Places = None,
    scan_ids: ScanIds = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", metavar="N", min=1, help="Maximum number of dead letters; the newest of each topic are shown."
        ),
    ] = 10,
    kafka: Kafka = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Show dead letters: every header, and the body, decoded or as bytes."""
    selection = Selection(frozenset(scan_ids or ()))
    selected = DeadLetterSelection(
        _known(topics), _services(services), frozenset(reasons or ()), _places(places), selection
    )
    settings = broker_settings(kafka, sandbox)
    require_sandbox(settings)
    found = run_with_kafka(_read(settings, selected))[-limit:]
    if as_json:
        print_json([_facts(dead_letter) for dead_letter in found])
        return
    for dead_letter in found:
        _print_dead_letter(dead_letter)
    if not found:
        table_console().print(_NONE_SELECTED)


@reported_errors()
def redrive(
    topics: Topics = None,
    services: Services = None,
    reasons: Reasons = None,
    places: Places = None,
    scan_ids: ScanIds = None,
    users: Users = None,
    subjects: Subjects = None,
    types: Types = None,
    where: Where = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All dead letters. Required if no other selection is given.")
    ] = False,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Reason for the audit log.")] = "",
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Maximum number of dead letters.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="N", min=0.1, help="At most N dead letters a second.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count the dead letters to send back; write nothing.")
    ] = False,
    kafka: Kafka = None,
    sandbox: Sandbox = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters back to their original topic, each once. One that failed three times stays.
    Exit 1 if any was refused.
    """
    chosen = (topics, services, reasons, places, scan_ids, users, subjects, types, where)
    if everything == any(chosen):
        raise WrongUseError(
            "select dead letters by --topic, --service, --reason, --at or --scan-id, or give --all alone"
        )
    selected = DeadLetterSelection(_known(topics), _services(services), frozenset(reasons or ()), _places(places))
    events = [source.topic for source in selected.sources()]
    events_selected = selection_of(scan_ids, users, subjects, types, where, topics=events, url=url, key=key)
    selected = replace(selected, selection=events_selected)
    settings = broker_settings(kafka, sandbox)
    require_sandbox(settings)
    task = Redrive(settings, selected, by=this_user(), reason=why, rate=rate, limit=limit, dry_run=dry_run)
    report = run_with_kafka(task.run())
    if (reasons or places) and report.is_empty:
        others = replace(selected, reasons=frozenset(), locations=frozenset())
        raise CommandError(_none_selected_text(run_with_kafka(_read(settings, others))))
    print_json(report.as_json()) if as_json else _print_report(report)
    if report.refused:
        raise typer.Exit(1)


def _known(topics: list[str] | None) -> frozenset[str]:
    """Raises `CommandError` for a name that is neither a topic nor a dead-letter topic."""
    known = {topic.name for topic in TOPICS} | {name for _, _, name in dead_letter_topics()}
    for name in topics or ():
        if name not in known:
            raise WrongUseError(
                f"no topic {name!r}; see `savo topics list`; a dead-letter topic has the name TOPIC.SERVICE.dlq"
            )
    return frozenset(topics or ())


def _services(names: list[str] | None) -> frozenset[str]:
    """Raises `CommandError`."""
    for name in names or ():
        if name not in SERVICES:
            raise WrongUseError(f"no service {name!r}; there are {', '.join(SERVICES)}")
    return frozenset(names or ())


def _places(places: list[str] | None) -> frozenset[str]:
    """Raises `CommandError`."""
    for place in places or ():
        if not re.fullmatch(r"[0-9]+/[0-9]+", place):
            raise WrongUseError(
                f"--at {place!r} is not the place of a dead letter: write PARTITION/OFFSET, such as 3/17"
            )
    return frozenset(places or ())


def _none_selected_text(others: list[DeadLetter]) -> str:
    reasons = Counter(dead_letter.reason for dead_letter in others)
    existing = ", ".join(f"{reason} ({count})" for reason, count in sorted(reasons.items()))
    rest = f"existing reasons: {existing}" if existing else "there are no dead letters at all"
    return f"{_NONE_SELECTED}, so nothing was sent back; {rest}"


_NONE_SELECTED = "no dead letter matches the selection"


async def _read(settings: RuntimeSettings, selected: DeadLetterSelection) -> list[DeadLetter]:
    async with TopicReader(settings) as reader:
        sources = await selected.sources_with_records(reader, settings.sandbox)
        return [found for source in sources async for found in selected.read(reader, source, settings.sandbox)]


def _rows(dead_letters: list[DeadLetter], settings: RuntimeSettings) -> list[dict[str, Any]]:
    sent_back = {
        source: RedriveState.load(settings, source).identities
        for source in {dead_letter.source for dead_letter in dead_letters}
    }
    groups: dict[tuple[str, str, str], list[DeadLetter]] = {}
    for dead_letter in dead_letters:
        source = dead_letter.source
        groups.setdefault((source.topic.name, source.service, dead_letter.reason), []).append(dead_letter)
    return [
        {
            "topic": topic,
            "service": service,
            "reason": reason,
            "letters": len(group),
            "redriven": sum(dead_letter.identity in sent_back[dead_letter.source] for dead_letter in group),
            "oldest": _when(group, min),
            "newest": _when(group, max),
            "message": group[-1].message.strip() or group[-1].error_type,
        }
        for (topic, service, reason), group in sorted(groups.items())
    ]


def _when(dead_letters: list[DeadLetter], choose: Callable[..., Any]) -> str:
    timestamp = choose(dead_letter.record.timestamp for dead_letter in dead_letters)
    return str(moment_of(timestamp).isoformat(timespec="seconds"))


def _print_rows(rows: list[dict[str, Any]], *, chosen: bool) -> None:
    console = table_console()
    if not rows:
        console.print(_NONE_SELECTED if chosen else "no dead letters")
        return
    columns = ("topic", "service", "reason", "dead letters", "sent back", "oldest", "newest", "newest error")
    table = Table(*columns, box=None)
    for row in rows:
        times = (row["oldest"][:19], row["newest"][:19])
        counts = (str(row["letters"]), str(row["redriven"]))
        cells = (row["topic"], row["service"], row["reason"], *counts, *times, _shortened(row["message"]))
        table.add_row(*map(Text, cells))
    console.print(table)
    console.print("to show one:  savo dlq show --topic TOPIC --limit 1", style="dim", markup=False)
    console.print("after a fix:  savo dlq redrive --topic TOPIC --dry-run", style="dim", markup=False)


_MAX_CHARACTERS = 240
"""Characters of a message: about four lines of its column."""


def _shortened(message: str) -> str:
    """Cut at the end of a word."""
    text = " ".join(message.split())
    if len(text) <= _MAX_CHARACTERS:
        return text
    return (text[:_MAX_CHARACTERS].rpartition(" ")[0] or text[:_MAX_CHARACTERS]) + " …"


def _facts(dead_letter: DeadLetter) -> dict[str, Any]:
    place = {
        "dead_letters": dead_letter.source.name,
        "at": dead_letter.location,
        "topic": dead_letter.source.topic.name,
        "service": dead_letter.source.service,
        "came_from": dead_letter.origin,
    }
    why = {
        "reason": dead_letter.reason,
        "error": dead_letter.error_type,
        "message": dead_letter.message,
        "attempts": dead_letter.attempts,
        "redrives": dead_letter.redrives,
    }
    headers = {name: (value or b"").decode(errors="replace") for name, value in dead_letter.record.headers}
    return {
        **place,
        **why,
        "key": (dead_letter.record.key or b"").decode(errors="replace"),
        "headers": headers,
        **body_of(dead_letter.source.topic, dead_letter.record),
    }


def _print_dead_letter(dead_letter: DeadLetter) -> None:
    facts, console = _facts(dead_letter), table_console()
    console.print(
        Text(f"{dead_letter.source.name} {dead_letter.location}", style="bold red"),
        Text(f"from {dead_letter.origin}", style="dim"),
    )
    width = max(map(len, facts["headers"]), default=0)
    for name, value in facts["headers"].items():
        console.print(Text(f"  {name:{width}}  {value}"), soft_wrap=True)
    if "event" in facts:
        console.print_json(data=facts["event"])
    else:
        console.print(
            Text(f"  the body cannot be decoded: {facts['error']}\n{hexdump(dead_letter.record.value or b'')}"),
            soft_wrap=True,
        )


def _print_report(report: RedriveReport) -> None:
    console = table_console()
    verb = "would be sent" if report.dry_run else "sent"
    targets: Counter[str] = report.targets
    topics = f" to {', '.join(sorted(targets))}" if targets else ""
    console.print(f"{report.redriven.total()} dead letters {verb} back{topics}", markup=False)
    for reason, count in sorted(report.redriven.items()):
        console.print(f"  {count:>6}  {reason}", markup=False)
    if report.redriven_before:
        console.print(f"{report.redriven_before} were already sent back and are skipped", markup=False)
    for dead_letter in report.refused:
        place = f"{dead_letter.source.name} {dead_letter.location}"
        failures = f"failed again {dead_letter.redrives} times ({dead_letter.reason})"
        line = f"refused: {place} {failures}; fix the cause, then publish the event again"
        console.print(line, style="red", markup=False, soft_wrap=True)
