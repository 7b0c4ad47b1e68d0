"""`savo topics`: what travels between the services, as the registry says and as it goes by."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from savo_cli.speaking import AsJson, CommandError, page, speaking, tell_json

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer, ConsumerRecord

    from savo_contracts.topics import Topic

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="The topics and what travels on them.")

_CONNECT_SECONDS = 10.0
_COLOURS = {"scans": "cyan", "samples": "green", "training": "magenta", "models": "magenta", "rollout": "yellow", "recipes": "blue"}


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
        topic = _topic(name)
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
    names: Annotated[list[str] | None, typer.Argument(metavar="[TOPIC…]", help="Default is all.")] = None,
    kafka: Annotated[str | None, typer.Option("--kafka", help="HOST:PORT; default is SAVO_KAFKA_BOOTSTRAP_SERVERS, then the broker of `savo up` here.")] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="What is there already, too.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="End after so many records.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show events as they come, decoded, until Ctrl-C. Commits nothing and disturbs no service."""
    with speaking():
        from savo_contracts.topics import TOPICS

        topics = [_topic(name) for name in names] if names else list(TOPICS)
        asyncio.run(_tail(topics, broker_address(kafka), limit, from_start=from_start, as_json=as_json))


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


def _topic(name: str) -> Topic[Any]:
    from savo_contracts.topics import topic_named

    try:
        return topic_named(name)
    except KeyError as unknown:
        raise CommandError(str(unknown.args[0])) from unknown


def broker_address(given: str | None) -> str:
    from savo_cli.gateway import running_here

    address = given or os.environ.get("SAVO_KAFKA_BOOTSTRAP_SERVERS", "embedded")
    if address != "embedded":
        return address
    here = running_here()
    if here is None:
        raise CommandError("no broker to read from: start one with `savo up`, or name one with --kafka HOST:PORT")
    return str(here["kafka"])


async def _tail(topics: list[Topic[Any]], address: str, limit: int | None, *, from_start: bool, as_json: bool) -> None:
    consumer = await _consumer(topics, address, from_start=from_start)
    by_name = {topic.name: topic for topic in topics}
    try:
        async with aclosing(_records(consumer, limit)) as records:
            async for record in records:
                told = _decoded(by_name[record.topic], record)
                tell_json(told) if as_json else _print(told)
    finally:
        await consumer.stop()


async def _consumer(topics: list[Topic[Any]], address: str, *, from_start: bool) -> AIOKafkaConsumer:
    """Without a group: every partition by hand, nothing committed."""
    from aiokafka import AIOKafkaConsumer, TopicPartition
    from aiokafka.errors import KafkaError

    from savo_runtime.messaging.broker import connection_arguments, reading_arguments
    from savo_runtime.settings import RuntimeSettings, load_settings

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what fails here is told in one line

    settings = load_settings(RuntimeSettings)
    arguments = connection_arguments(settings.model_copy(update={"kafka_bootstrap_servers": address}))
    reading = {**reading_arguments(settings, topics[0].name), "fetch_max_wait_ms": 100}  # the embedded broker wakes no waiting fetch
    consumer = AIOKafkaConsumer(**arguments, **reading, group_id=None, enable_auto_commit=False)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await consumer.start()
            found = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - the only way to ask without subscribing
            partitions = [TopicPartition(topic.name, number) for topic in topics for number in found.partitions_for_topic(topic.name) or ()]
            if not partitions:
                raise CommandError(f"Kafka at {address} has none of these topics; the services make them at their start")
            consumer.assign(partitions)
            await (consumer.seek_to_beginning(*partitions) if from_start else consumer.seek_to_end(*partitions))
    except (CommandError, KafkaError, TimeoutError, OSError) as flaw:
        await consumer.stop()
        if isinstance(flaw, CommandError):
            raise
        raise CommandError(f"Kafka at {address} does not answer ({type(flaw).__name__}); is it the right one? --kafka HOST:PORT") from flaw
    return consumer


async def _records(consumer: AIOKafkaConsumer, limit: int | None) -> AsyncGenerator[ConsumerRecord, None]:
    seen = 0
    async for record in consumer:
        yield record
        seen += 1
        if seen == limit:
            return


def _decoded(topic: Topic[Any], record: ConsumerRecord) -> dict[str, Any]:
    from savo_runtime.errors import InvalidMessageError
    from savo_runtime.messaging.records import decode, is_tombstone

    place = {"topic": record.topic, "partition": record.partition, "offset": record.offset, "key": (record.key or b"").decode(errors="replace")}
    if is_tombstone(topic, record):
        return {**place, "event": None}
    try:
        envelope = decode(topic, record)
    except InvalidMessageError as flaw:
        return {**place, "error": f"{flaw.reason}: {flaw}", "body": (record.value or b"")[:500].decode(errors="replace")}
    return {**place, "id": str(envelope.id), "time": envelope.time.isoformat(), "event": envelope.event.model_dump(mode="json")}


def _print(told: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    line = Text()
    line.append(str(told.get("time", ""))[11:23].ljust(13), style="dim")
    line.append(told["topic"].ljust(28), style=_colour(told["topic"]))
    line.append(f"{told['partition']}/{told['offset']} ".ljust(10), style="dim")
    if "error" in told:
        line.append(told["error"], style="red")
    elif told["event"] is None:
        line.append(f"{told['key']} erased", style="dim")
    else:
        line.append(json.dumps(_briefly(told["event"]), ensure_ascii=False))
    Console().print(line, soft_wrap=True)


def _briefly(event: dict[str, Any]) -> dict[str, Any]:
    """Without what is null, and photos by their hash alone."""
    return {name: value["sha256"][:12] if name == "image" and value else value for name, value in event.items() if value is not None}


def _colour(topic: str) -> str:
    return {"scans": "cyan", "samples": "green", "training": "magenta", "models": "magenta", "rollout": "yellow", "recipes": "blue"}.get(
        topic.split(".")[0], "white"
    )
