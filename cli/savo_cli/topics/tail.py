"""The records of topics as they go by, one line each, a batch at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

    from savo_contracts.topics import Topic
    from savo_operations.replay.positions import Position
    from savo_operations.replay.selection import Selection
    from savo_runtime.settings import RuntimeSettings

__all__ = ["Tail"]


@dataclass(frozen=True)
class Tail:
    """`topics`: each name, as in the registry, with the topic whose events are on it; they differ for dead letters."""

    settings: RuntimeSettings
    topics: dict[str, Topic[Any]]
    selection: Selection
    limit: int | None = None
    as_json: bool = False
    raw: bool = False
    checked: bool = False

    async def run(self, since: Position, until: Position | None) -> None:
        """Until `until`, the limit, Ctrl-C, or nobody reads any more. Raises `DependencyDownError`, and `LookupError` when there is nothing to read."""
        from savo_operations.replay.positions import End
        from savo_operations.replay.record_lines import Lines
        from savo_operations.replay.topic_reader import TopicReader
        from savo_runtime.messaging.kafka.topic_names import name_on_kafka

        on_kafka = {name_on_kafka(name, self.settings.sandbox): topic for name, topic in self.topics.items()}
        letters = frozenset(name for name, topic in on_kafka.items() if name != name_on_kafka(topic.name, self.settings.sandbox))
        lines = Lines(on_kafka, letters, self.as_json, coloured=_wants_colour(), raw=self.raw, checked=self.checked)
        left = self.limit
        async with TopicReader(self.settings) as reader:
            partitions = await reader.partitions(on_kafka)
            if not partitions:
                raise ValueError(f"Kafka at {self.settings.kafka_bootstrap_servers} has none of these topics; the services make them at their start")
            span = await reader.span(partitions, since, until or End())
            records = reader.read(span) if until is not None else reader.follow(span.starts)
            async with aclosing(records) as batches:
                async for _, batch, _ in batches:
                    chosen = self._chosen(span.within(batch), on_kafka)[:left]
                    if chosen and not _say(lines.of(chosen)):
                        return
                    left = None if left is None else left - len(chosen)
                    if left == 0:
                        return

    def _chosen(self, records: Sequence[ConsumerRecord], topics: dict[str, Topic[Any]]) -> Sequence[ConsumerRecord]:
        if self.selection.takes_all:
            return records
        return [record for record in records if self.selection.wants(record, topics[record.topic])]


def _wants_colour() -> bool:
    from rich.console import Console

    console = Console()
    return console.is_terminal and not console.no_color


def _say(lines: list[str]) -> bool:
    """False when nobody reads any more, as after `| head`."""
    try:
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the interpreter's last flush finds a place
        return False
    return True
