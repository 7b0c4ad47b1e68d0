"""`savo topics lag`: how far each consumer group is, and which partitions wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from savo_cli.options import AsJson, page, speaking, tell_json
from savo_cli.topics.broker import Kafka, broker_settings, known_topic, on_kafka

if TYPE_CHECKING:
    from savo_contracts.topics import Topic
    from savo_runtime.messaging.kafka.lag import GroupPosition
    from savo_runtime.settings import RuntimeSettings

__all__ = ["lag"]


def lag(
    names: Annotated[list[str] | None, typer.Argument(metavar="[TOPIC…]", help="Default is all.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also partitions on which nothing waits.")] = False,
    kafka: Kafka = None,
    as_json: AsJson = False,
) -> None:
    """Which groups are behind, by partition: position, end, and records between. Asks Kafka, so it also tells of a service that is down."""
    with speaking():
        from savo_contracts.topics import TOPICS

        topics = [known_topic(name) for name in names] if names else list(TOPICS)
        places = [place for place in on_kafka(_look(broker_settings(kafka), topics)) if everything or place.lag]
    if as_json:
        tell_json([_facts(place) for place in places])
    elif places:
        _print(places)
    else:
        typer.echo("nothing waits")


async def _look(settings: RuntimeSettings, topics: Sequence[Topic[Any]]) -> list[GroupPosition]:
    """Raises `DependencyDownError`."""
    from aiokafka.errors import KafkaError

    from savo_runtime.errors import DependencyDownError
    from savo_runtime.messaging.kafka.lag import GroupReader

    reader = GroupReader(settings, topics)
    try:
        await reader.start()
        return await reader.look()
    except (KafkaError, OSError) as away:
        raise DependencyDownError("kafka", f"no answer from {settings.kafka_bootstrap_servers}: {type(away).__name__}") from away
    finally:
        await reader.stop()


def _facts(place: GroupPosition) -> dict[str, Any]:
    where = {"topic": place.topic, "service": place.service, "group": place.group, "partition": place.partition}
    return {**where, "position": place.position, "end": place.end, "lag": place.lag}


def _print(places: Sequence[GroupPosition]) -> None:
    from rich.table import Table

    table = Table("topic", "service", "partition", "position", "end", "waiting", box=None)
    for place in places:
        table.add_row(place.topic, place.service, str(place.partition), str(place.position), str(place.end), str(place.lag))
    page().print(table)
