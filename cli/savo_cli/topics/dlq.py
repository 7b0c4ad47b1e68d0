"""`savo dlq`: what could not be worked on, why, and back to its topic once the cause is mended."""

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
from savo_cli.topics.broker import Kafka, Sandbox, broker_settings, on_kafka
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

__all__ = ["list_letters", "redrive", "show"]

Topics = Annotated[
    list[str] | None,
    typer.Option("--topic", metavar="T", help="Only of this topic, by its name or its dead-letter topic's."),
]
Services = Annotated[
    list[str] | None, typer.Option("--service", metavar="S", help="Only what this service could not work on.")
]
Reasons = Annotated[
    list[str] | None, typer.Option("--reason", metavar="R", help="Only of this reason, as `savo dlq list` shows it.")
]
Places = Annotated[
    list[str] | None, typer.Option("--at", metavar="PARTITION/OFFSET", help="Only the letter that stands here.")
]


@reported_errors()
def list_letters(
    topics: Topics = None,
    services: Services = None,
    reasons: Reasons = None,
    kafka: Kafka = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """How many of which topic, service and reason; how many of them were sent back already."""
    settings = broker_settings(kafka, sandbox)
    letters = DeadLetterSelection(_known(topics), _services(services), frozenset(reasons or ()))
    require_sandbox(settings)
    rows = _rows(on_kafka(_read(settings, letters)), settings)
    print_json(rows) if as_json else _print_rows(rows, chosen=bool(topics or services or reasons))


@reported_errors()
def show(
    topics: Topics = None,
    services: Services = None,
    reasons: Reasons = None,
    places: Places = None,
    scan_ids: ScanIds = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest of each topic.")] = 10,
    kafka: Kafka = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """The letters themselves: every header, and the body decoded, or as bytes where it cannot be."""
    selection = Selection(frozenset(scan_ids or ()))
    letters = DeadLetterSelection(
        _known(topics), _services(services), frozenset(reasons or ()), _places(places), selection
    )
    settings = broker_settings(kafka, sandbox)
    require_sandbox(settings)
    found = on_kafka(_read(settings, letters))[-limit:]
    if as_json:
        print_json([_facts(letter) for letter in found])
        return
    for letter in found:
        _print_letter(letter)
    if not found:
        table_console().print("no dead letters of that kind")


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
        bool, typer.Option("--all", help="All of them; else name at least one of the others.")
    ] = False,
    why: Annotated[str, typer.Option("--why", help="For the audit log.")] = "",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many.")] = None,
    rate: Annotated[float | None, typer.Option("--rate", metavar="N", min=0.1, help="At most N a second.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would go back; write nothing.")] = False,
    kafka: Kafka = None,
    sandbox: Sandbox = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Send letters back to the topic that they came from, each once. One that came back three times stays. Exit 1 when some were refused."""
    chosen = (topics, services, reasons, places, scan_ids, users, subjects, types, where)
    if everything == any(chosen):
        raise WrongUseError(
            "say which letters: --topic, --service, --reason, --at, or --scan-id and its like; or --all alone"
        )
    settings = broker_settings(kafka, sandbox)
    letters = DeadLetterSelection(_known(topics), _services(services), frozenset(reasons or ()), _places(places))
    events = [source.topic for source in letters.sources()]
    letters = replace(
        letters, selection=selection_of(scan_ids, users, subjects, types, where, topics=events, url=url, key=key)
    )
    require_sandbox(settings)
    report = on_kafka(
        Redrive(settings, letters, by=this_user(), reason=why, rate=rate, limit=limit, dry_run=dry_run).run()
    )
    if (reasons or places) and report.is_empty:
        raise CommandError(
            _nothing_of_that_kind(
                on_kafka(_read(settings, replace(letters, reasons=frozenset(), locations=frozenset())))
            )
        )
    print_json(report.as_json()) if as_json else _print_report(report)
    if report.refused:
        raise typer.Exit(1)


def _known(topics: list[str] | None) -> frozenset[str]:
    """Raises `CommandError` for a name that is neither a topic nor a dead-letter topic."""
    known = {topic.name for topic in TOPICS} | {name for _, _, name in dead_letter_topics()}
    for name in topics or ():
        if name not in known:
            raise WrongUseError(
                f"no topic {name!r}; `savo topics list` shows them, and a dead-letter topic is called TOPIC.SERVICE.dlq"
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
                f"--at {place!r} is no place of a letter: write PARTITION/OFFSET, such as 3/17, as `savo dlq show` does"
            )
    return frozenset(places or ())


def _nothing_of_that_kind(others: list[DeadLetter]) -> str:
    reasons = Counter(letter.reason for letter in others)
    there = ", ".join(f"{reason} ({count})" for reason, count in sorted(reasons.items()))
    return "no dead letters of that kind, so nothing went back; " + (
        f"the reasons there are: {there}" if there else "there are none at all"
    )


async def _read(settings: RuntimeSettings, letters: DeadLetterSelection) -> list[DeadLetter]:
    async with TopicReader(settings) as reader:
        return [
            letter for source in letters.sources() async for letter in letters.read(reader, source, settings.sandbox)
        ]


def _rows(letters: list[DeadLetter], settings: RuntimeSettings) -> list[dict[str, Any]]:
    noted = {source: RedriveState.load(settings, source).identities for source in {letter.source for letter in letters}}
    groups: dict[tuple[str, str, str], list[DeadLetter]] = {}
    for letter in letters:
        groups.setdefault((letter.source.topic.name, letter.source.service, letter.reason), []).append(letter)
    return [
        {
            "topic": topic,
            "service": service,
            "reason": reason,
            "letters": len(group),
            "redriven": sum(letter.identity in noted[letter.source] for letter in group),
            "oldest": _when(group, min),
            "newest": _when(group, max),
            "message": group[-1].message.strip() or group[-1].error_type,
        }
        for (topic, service, reason), group in sorted(groups.items())
    ]


def _when(letters: list[DeadLetter], choose: Callable[..., Any]) -> str:
    return str(moment_of(choose(letter.record.timestamp for letter in letters)).isoformat(timespec="seconds"))


def _print_rows(rows: list[dict[str, Any]], *, chosen: bool) -> None:
    console = table_console()
    if not rows:
        console.print("no dead letters of that kind" if chosen else "no dead letters")
        return
    table = Table("topic", "service", "reason", "letters", "sent back", "oldest", "newest", "the newest says", box=None)
    for row in rows:
        figures = (
            str(row["letters"]),
            str(row["redriven"]),
            row["oldest"][:19],
            row["newest"][:19],
            _briefly(row["message"]),
        )
        table.add_row(*map(Text, (row["topic"], row["service"], row["reason"], *figures)))
    console.print(table)
    console.print(
        "look at one:  savo dlq show --topic TOPIC --limit 1\nonce the cause is mended:  savo dlq redrive --topic TOPIC --dry-run",
        style="dim",
        markup=False,
    )


_MOST_CHARACTERS = 240
"""Characters of a message: some four lines of its column."""


def _briefly(message: str) -> str:
    """Cut where a word ends."""
    text = " ".join(message.split())
    if len(text) <= _MOST_CHARACTERS:
        return text
    return (text[:_MOST_CHARACTERS].rpartition(" ")[0] or text[:_MOST_CHARACTERS]) + " …"


def _facts(letter: DeadLetter) -> dict[str, Any]:
    place = {
        "dead_letters": letter.source.name,
        "at": letter.location,
        "topic": letter.source.topic.name,
        "service": letter.source.service,
        "came_from": letter.origin,
    }
    why = {
        "reason": letter.reason,
        "error": letter.error_type,
        "message": letter.message,
        "attempts": letter.attempts,
        "redrives": letter.redrives,
    }
    headers = {name: (value or b"").decode(errors="replace") for name, value in letter.record.headers}
    return {
        **place,
        **why,
        "key": (letter.record.key or b"").decode(errors="replace"),
        "headers": headers,
        **body_of(letter.source.topic, letter.record),
    }


def _print_letter(letter: DeadLetter) -> None:
    facts, console = _facts(letter), table_console()
    console.print(
        Text(f"{letter.source.name} {letter.location}", style="bold red"), Text(f"from {letter.origin}", style="dim")
    )
    width = max(map(len, facts["headers"]), default=0)
    for name, value in facts["headers"].items():
        console.print(Text(f"  {name:{width}}  {value}"), soft_wrap=True)
    if "event" in facts:
        console.print_json(data=facts["event"])
    else:
        console.print(
            Text(f"  the body cannot be decoded: {facts['error']}\n{hexdump(letter.record.value or b'')}"),
            soft_wrap=True,
        )


def _print_report(report: RedriveReport) -> None:
    console = table_console()
    did = "would go" if report.dry_run else "went"
    into: Counter[str] = report.targets
    console.print(
        f"{report.redriven.total()} letters {did} back" + (f" to {', '.join(sorted(into))}" if into else ""),
        markup=False,
    )
    for reason, count in sorted(report.redriven.items()):
        console.print(f"  {count:>6}  {reason}", markup=False)
    if report.redriven_before:
        console.print(f"{report.redriven_before} were sent back before and stay where they are", markup=False)
    for letter in report.refused:
        what = f"{letter.source.name} {letter.location} came back {letter.redrives} times ({letter.reason})"
        line = f"refused: {what}; mend the cause, then publish the event anew"
        console.print(line, style="red", markup=False, soft_wrap=True)
