"""`savo topics tail`: records of topics, printed one line each as they arrive."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from aiokafka import ConsumerRecord
from rich.console import Console

from savo_cli.options import AsJson, Key, Url
from savo_cli.topics.broker import Kafka, Sandbox, broker_settings, checked_sandbox, known_topic, run_with_kafka
from savo_cli.topics.sandboxes import require_sandbox
from savo_cli.topics.selection import ScanIds, Subjects, Types, Users, Where, selection_of
from savo_contracts.topics import TOPICS, Topic, dead_letter_topics
from savo_operations.replay.offset_ranges import find_offset_range, read_offset_range
from savo_operations.replay.positions import End, Position, PositionError, parse_position, parse_range
from savo_operations.replay.record_lines import RecordLines
from savo_operations.replay.selection import Selection
from savo_runtime.command_line.output import WrongUseError, reported_errors
from savo_runtime.messaging.kafka.topic_names import name_on_kafka
from savo_runtime.messaging.kafka.topic_reader import TopicReader
from savo_runtime.settings import RuntimeSettings
from savo_runtime.timing.clock import utc_now

__all__ = ["Tail", "tail"]


@reported_errors()
def tail(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TOPIC", help="Topics or dead-letter topics; default is every topic without its dead letters."
        ),
    ] = None,
    since: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="TIME|OFFSET",
            help="Begin at: end (new records), start, 1200, 3/1200, 2026-11-23T08:00Z, or 2h (ago).",
        ),
    ] = "end",
    from_start: Annotated[bool, typer.Option("--from-start", help="The same as --from start.")] = False,
    until: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="TIME|OFFSET",
            help="Stop at this position, at the latest at the current end; default is to continue.",
        ),
    ] = None,
    scan_ids: ScanIds = None,
    users: Users = None,
    subjects: Subjects = None,
    types: Types = None,
    where: Where = None,
    dead_letters: Annotated[
        bool, typer.Option("--dead-letters", help="The dead letters of these topics instead of the topics.")
    ] = False,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Print location, key and body without decoding, which is fastest."),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Validate each event against its contract and show the errors.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Stop after this many records.")
    ] = None,
    kafka: Kafka = None,
    sandbox: Sandbox = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Print events as they arrive, decoded, until Ctrl-C. Commits no offset and affects no service."""
    checked_sandbox(sandbox)
    topics = _readable(names, dead_letters)
    first, last = _range("start" if from_start else since, until)
    selection = selection_of(scan_ids, users, subjects, types, where, topics=topics.values(), url=url, key=key)
    settings = broker_settings(kafka, sandbox)
    require_sandbox(settings)
    run_with_kafka(Tail(settings, topics, selection, limit, as_json=as_json, raw=raw, checked=check).run(first, last))


@dataclass(frozen=True)
class Tail:
    """Reads topics and prints their records.

    `topics` maps each name of the registry to the topic whose events it holds; they differ for dead letters.
    """

    settings: RuntimeSettings
    topics: dict[str, Topic[Any]]
    selection: Selection
    limit: int | None = None
    as_json: bool = False
    raw: bool = False
    checked: bool = False

    async def run(self, since: Position, until: Position | None) -> None:
        """Print until `until`, the limit, Ctrl-C, or the end of the reader of standard output.

        Raises `DependencyDownError`, and `ValueError` if none of the topics exists.
        """
        topics = {name_on_kafka(name, self.settings.sandbox): topic for name, topic in self.topics.items()}
        dead = frozenset(
            name for name, topic in topics.items() if name != name_on_kafka(topic.name, self.settings.sandbox)
        )
        lines = RecordLines(topics, dead, self.as_json, coloured=_wants_colour(), raw=self.raw, checked=self.checked)
        left = self.limit
        async with TopicReader(self.settings) as reader:
            partitions = await reader.partitions(topics)
            if not partitions:
                address = self.settings.kafka_bootstrap_servers
                raise ValueError(f"Kafka at {address} has none of these topics; start the services, which create them")
            span = await find_offset_range(reader, partitions, since, until or End())
            records = read_offset_range(reader, span) if until is not None else reader.follow(span.starts)
            async with aclosing(records) as batches:
                async for _, batch, _ in batches:
                    chosen = self._chosen(span.within(batch), topics)[:left]
                    if chosen and not _write(lines.format(chosen)):
                        return
                    left = None if left is None else left - len(chosen)
                    if left == 0:
                        return

    def _chosen(self, records: Sequence[ConsumerRecord], topics: dict[str, Topic[Any]]) -> Sequence[ConsumerRecord]:
        if self.selection.matches_all:
            return records
        return [record for record in records if self.selection.matches(record, topics[record.topic])]


def _wants_colour() -> bool:
    console = Console()
    return console.is_terminal and not console.no_color


def _write(lines: list[str]) -> bool:
    """False when the reader of standard output has ended, as with `| head`."""
    try:
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the flush at exit does not fail
        return False
    return True


def _range(since: str, until: str | None) -> tuple[Position, Position | None]:
    now = utc_now()
    try:
        return parse_range(since, until, now) if until else (parse_position(since, now), None)
    except PositionError as error:
        raise WrongUseError(str(error)) from error


def _readable(names: list[str] | None, dead_letters: bool) -> dict[str, Topic[Any]]:
    """Maps each topic to read to the topic whose events it holds. Raises `CommandError`."""
    sources = {name: topic for topic, _, name in dead_letter_topics()}
    chosen = (
        {name: sources[name] if name in sources else known_topic(name) for name in names}
        if names
        else {topic.name: topic for topic in TOPICS}
    )
    if not dead_letters:
        return chosen
    return {name: topic for name, topic in sources.items() if name in chosen or topic.name in chosen}
