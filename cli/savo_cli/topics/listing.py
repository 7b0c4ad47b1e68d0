"""`savo topics list` and `describe`: the topic registry, as a table and in detail."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from savo_cli.options import AsJson
from savo_cli.topics.broker import known_topic
from savo_contracts.topics import TOPICS, Topic
from savo_runtime.command_line.output import print_json, reported_errors, table_console

__all__ = ["describe", "list_topics"]


def list_topics(as_json: AsJson = False) -> None:
    """List every topic: event, key, producers, consumers. Needs no broker."""
    if as_json:
        print_json([_facts(topic) for topic in TOPICS])
        return
    table = Table("topic", "event", "key", "producers", "consumers", "partitions", "retention", box=None)
    for topic in TOPICS:
        facts = _facts(topic)
        producers = " ".join(topic.producers) + (" (planned)" if topic.planned else "")
        parts = [topic.name, facts["event"], facts["key"], producers, " ".join(topic.consumers), str(topic.partitions)]
        table.add_row(*parts, facts["retention"].split(":")[0])
    table_console().print(table)


@reported_errors()
def describe(name: Annotated[str, typer.Argument(metavar="TOPIC")], as_json: AsJson = False) -> None:
    """Describe a topic and the fields of its event."""
    topic = known_topic(name)
    fields = {field: info.description or "" for field, info in topic.event.model_fields.items()}
    facts = {**_facts(topic), "dead_letters": [topic.dead_letters(service) for service in topic.consumers]}
    if as_json:
        print_json({**facts, "schema": topic.event.model_json_schema()})
        return
    for fact, value in facts.items():
        typer.echo(f"{fact:13} {' '.join(value) if isinstance(value, list) else value}")
    typer.echo(f"\n{(topic.event.__doc__ or '').strip()}")
    width = max(map(len, fields))
    for field, meaning in fields.items():
        typer.echo(f"  {field:{width}}  {meaning}")


def _facts(topic: Topic[Any]) -> dict[str, Any]:
    return {
        "name": topic.name,
        "event": topic.event.__name__,
        "type": topic.event.type,
        "key": topic.key_name,
        "producers": list(topic.producers),
        "consumers": list(topic.consumers),
        "partitions": topic.partitions,
        "retention": topic.retention.value,
        "planned": topic.planned,
    }
