"""`savo topics`: what travels between the services, as the registry says and as it goes by."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from savo_cli.options import AsJson, Key, Url, WrongUseError, page, speaking, tell_json
from savo_cli.topics.broker import Kafka, Sandbox, broker_settings, known_topic, on_kafka, require_sandbox
from savo_cli.topics.sandboxes import drop_sandbox
from savo_cli.topics.selection import ScanIds, Subjects, Types, Users, Where, selection_of

if TYPE_CHECKING:
    from savo_contracts.topics import Topic
    from savo_operations.replay.positions import Position

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="The topics and what travels on them.")
app.command("drop-sandbox")(drop_sandbox)


@app.command("list")
def list_topics(as_json: AsJson = False) -> None:
    """Every topic: event, key, who writes, who reads. Needs no broker."""
    from savo_contracts.topics import TOPICS

    if as_json:
        tell_json([_facts(topic) for topic in TOPICS])
        return
    from rich.table import Table

    table = Table("topic", "event", "key", "written by", "read by", "partitions", "kept", box=None)
    for topic in TOPICS:
        facts = _facts(topic)
        parts = [topic.name, facts["event"], facts["key"], " ".join(topic.producers), " ".join(topic.consumers), str(topic.partitions)]
        table.add_row(*parts, facts["retention"].split(":")[0])
    page().print(table)


@app.command("describe")
def describe(name: Annotated[str, typer.Argument(metavar="TOPIC")], as_json: AsJson = False) -> None:
    """One topic with the fields of its event."""
    with speaking():
        topic = known_topic(name)
        fields = {field: info.description or "" for field, info in topic.event.model_fields.items()}
        facts = {**_facts(topic), "dead_letters": [topic.dead_letters(service) for service in topic.consumers]}
    if as_json:
        tell_json({**facts, "schema": topic.event.model_json_schema()})
        return
    for word, value in facts.items():
        typer.echo(f"{word:13} {' '.join(value) if isinstance(value, list) else value}")
    typer.echo(f"\n{(topic.event.__doc__ or '').strip()}")
    width = max(map(len, fields))
    for field, meaning in fields.items():
        typer.echo(f"  {field:{width}}  {meaning}")


@app.command("tail")
def tail(
    names: Annotated[list[str] | None, typer.Argument(metavar="[TOPIC…]", help="Topics, or dead-letter topics; default is all but dead letters.")] = None,
    since: Annotated[str, typer.Option("--from", metavar="TIME|OFFSET", help="end (what comes), start, 1200, 3/1200, 2026-11-23T08:00Z, or 2h (ago).")] = "end",
    from_start: Annotated[bool, typer.Option("--from-start", help="The same as --from start.")] = False,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME|OFFSET", help="End there, at most at what is there now; unset goes on.")] = None,
    scan_ids: ScanIds = None,
    users: Users = None,
    subjects: Subjects = None,
    types: Types = None,
    where: Where = None,
    dead_letters: Annotated[bool, typer.Option("--dead-letters", help="The dead letters of these topics, in the place of the topics.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Place, key, tab and body as they came, neither decoded nor checked: the fastest.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Hold each event against its contract, and say which do not fit and why.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="End after so many records.")] = None,
    kafka: Kafka = None,
    sandbox: Sandbox = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show events as they come, decoded, until Ctrl-C. Commits nothing and disturbs no service."""
    with speaking():
        from savo_cli.topics.tail import Tail

        settings = broker_settings(kafka, sandbox)
        topics = _readable(names, dead_letters)
        first, last = _range("start" if from_start else since, until)
        selection = selection_of(scan_ids, users, subjects, types, where, topics=topics.values(), url=url, key=key)
        require_sandbox(settings)
        on_kafka(Tail(settings, topics, selection, limit, as_json=as_json, raw=raw, checked=check).run(first, last))


def _range(since: str, until: str | None) -> tuple[Position, Position | None]:
    from savo_operations.replay.positions import PositionError, parse_position, parse_range

    now = datetime.now(UTC)
    try:
        return parse_range(since, until, now) if until else (parse_position(since, now), None)
    except PositionError as flaw:
        raise WrongUseError(str(flaw)) from flaw


def _readable(names: list[str] | None, dead_letters: bool) -> dict[str, Topic[Any]]:
    """Each topic to read with the one whose events are on it. Raises `CommandError`."""
    from savo_contracts.topics import TOPICS, dead_letter_topics

    letters = {name: topic for topic, _, name in dead_letter_topics()}
    chosen = {name: letters[name] if name in letters else known_topic(name) for name in names} if names else {topic.name: topic for topic in TOPICS}
    if not dead_letters:
        return chosen
    return {name: topic for name, topic in letters.items() if name in chosen or topic.name in chosen}


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
    }
